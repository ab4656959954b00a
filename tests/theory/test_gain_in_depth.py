"""What the slope of the variance map says about a deep network."""

import math
import statistics

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.theory import activation, activation_names, gain


def variance_map(name, variance):
    function, root = activation(name).function, math.sqrt(variance)
    return gain(name).forward ** 2 * gain(lambda z: function(root * z)).second_moment


def after(layers, name, variance):
    for _ in range(layers):
        variance = variance_map(name, variance)
    return variance


def moment(tensor):
    return float(tensor.detach().square().mean())


@settings(deadline=None)
@given(st.sampled_from(activation_names()))
def test_the_slope_is_the_derivative_of_the_variance_map(name):
    step = 1e-4
    difference = (variance_map(name, 1 + step) - variance_map(name, 1 - step)) / (2 * step)
    # The remainder of a central difference: a third derivative of order 1 times step^2 / 6.
    assert gain(name).slope == pytest.approx(difference, abs=1e-7)


@pytest.mark.parametrize("name", activation_names())
def test_one_is_a_fixed_point_of_the_variance_map(name):
    assert variance_map(name, 1.0) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("name", "slope"), [("gelu", 1.144), ("silu", 1.173), ("mish", 1.076)])
def test_peer_gain_alone_is_not_enough_for_gelu_silu_and_mish(name, slope):
    measured = gain(name)
    assert measured.slope == pytest.approx(slope, abs=5e-4)
    assert not measured.stable
    assert after(100, name, 1.01) > 50
    assert after(100, name, 0.99) < 0.02


@pytest.mark.parametrize("name", ["tanh", "sigmoid", "selu", "elu", "softsign", "hardtanh", "erf"])
def test_a_stable_activation_forgets_an_excess_of_variance(name):
    assert gain(name).stable
    assert abs(after(100, name, 1.5) - 1) < 1e-3


@pytest.mark.parametrize("name", ["linear", "relu", "leaky_relu", "prelu"])
def test_a_homogeneous_activation_keeps_an_excess_of_variance_and_counts_as_stable(name):
    assert gain(name).stable
    assert after(100, name, 1.5) == pytest.approx(1.5, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "function", "low", "high"),
    [
        ("gelu", F.gelu, 50, math.inf),
        ("silu", F.silu, 1e5, math.inf),
        ("tanh", torch.tanh, 0.9, 1.1),
        ("selu", F.selu, 0.9, 1.1),
    ],
)
def test_a_real_network_of_a_hundred_layers_follows_the_slope(name, function, low, high):
    random = torch.Generator().manual_seed(0)
    signal = torch.randn(64, 256, generator=random) * 1.05
    for _ in range(100):
        weight = torch.randn(256, 256, generator=random) * gain(name).forward / 16
        signal = function(signal) @ weight
    assert low < float(signal.std()) < high


@pytest.mark.parametrize("name", ["relu", "tanh", "selu"])
def test_the_gains_keep_a_real_layer_even_forwards_and_backwards(name):
    random, function = torch.Generator().manual_seed(0), getattr(torch, name)
    forward, backward = [], []
    for _ in range(30):
        inputs = torch.randn(80, 100, generator=random, requires_grad=True)
        outputs = function(inputs)
        weight = torch.randn(100, 100, generator=random) / 10
        forward.append(moment(outputs @ weight * gain(name).forward))
        gradients = torch.randn(80, 100, generator=random) @ weight * gain(name).backward
        backward.append(moment(torch.autograd.grad(outputs, inputs, gradients)[0]))
    for moments in (forward, backward):
        error = statistics.stdev(moments) / math.sqrt(len(moments))
        assert error < 0.02
        assert abs(statistics.mean(moments) - 1) < 5 * error


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.sampled_from(["relu", "tanh", "gelu"]))
def test_scaling_an_activation_divides_its_gains_and_leaves_its_slope(scale, name):
    plain, function = gain(name), activation(name).function
    scaled = gain(lambda z: scale * function(z))
    assert scaled.forward == pytest.approx(plain.forward / scale, rel=1e-12)
    assert scaled.backward == pytest.approx(plain.backward / scale, rel=1e-12)
    assert scaled.slope == pytest.approx(plain.slope, rel=1e-12)


@settings(deadline=None)
@given(st.sampled_from(activation_names()))
def test_mirroring_an_activation_mirrors_its_mean_alone(name):
    plain, function = gain(name), activation(name).function
    mirrored = gain(lambda z: -function(-z))
    assert mirrored.mean == pytest.approx(-plain.mean, abs=1e-12)
    assert np.allclose(
        [mirrored.forward, mirrored.backward, mirrored.slope],
        [plain.forward, plain.backward, plain.slope],
        rtol=1e-9,
    )
