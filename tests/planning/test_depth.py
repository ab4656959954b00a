"""Plain networks run on the critical line, at a variance that their depth can bear."""

import math

import pytest
import torch
from torch import nn

from evenflow.planning import initialize_
from evenflow.planning.depth import critical, variance_in_depth
from evenflow.theory.mean_field import statistics

SMOOTH = [
    "tanh",
    "gelu",
    "silu",
    "mish",
    "elu",
    "celu",
    "softplus",
    "sigmoid",
    "hardswish",
    "softsign",
    "hardtanh",
    "erf",
]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("depth", [2, 10, 100, 1000])
def test_a_layer_neither_shrinks_nor_grows_the_variance_or_the_gradient(name, depth):
    point = critical(name, None, depth)
    moments = statistics(name, point.q)
    own = moments.second_moment - 2 * point.mean * moments.mean + point.mean**2
    assert point.weight_variance * own + point.bias_variance == pytest.approx(point.q, rel=1e-6)
    assert point.weight_variance * moments.slope_moment == pytest.approx(1)
    assert point.bias_variance >= 0


@pytest.mark.parametrize("name", SMOOTH)
def test_the_deeper_the_smaller_unless_large_signals_come_together(name):
    variances = [variance_in_depth(name, None, depth) for depth in (2, 10, 100)]
    assert variances == sorted(variances, reverse=True)
    assert variances[2] <= 0.01 or name == "sigmoid"


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "selu", "hardshrink", "tanhshrink", "relu_squared"])
def test_rectifiers_have_no_better_variance_and_shrinkages_no_small_one(name):
    assert critical(name, None, 50) is None
    assert variance_in_depth(name, None, 50) == 1.0


def test_a_thousand_layers_of_tanh_keep_signal_and_gradient():
    layers = [part for _ in range(1000) for part in (nn.Linear(32, 32), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(32, 10))
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    initialize_(model, x.detach())
    first = model[0](x)
    last = model[1:-2](first)
    assert float(last.detach().std()) == pytest.approx(float(first.detach().std()), rel=0.2)
    assert float(first.detach().std()) == pytest.approx(math.sqrt(1 / 1000), rel=0.05)
    loss = model[-2:](last).square().mean()
    early, late = torch.autograd.grad(loss, [first, last])
    assert 0.2 < float(early.norm() / late.norm()) < 5


def test_a_convolutional_network_of_forty_layers_gets_delta_orthogonal_kernels():
    layers = [part for _ in range(40) for part in (nn.Conv2d(8, 8, 3, padding=1), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, 4))
    made = initialize_(model, torch.randn(16, 8, 6, 6, generator=torch.Generator().manual_seed(0)))
    assert made.row("20.weight").rule == "delta_orthogonal"
    assert made.row("20.weight").measured == pytest.approx(math.sqrt(1 / 40), rel=0.05)
