"""Gains of the catalogue against closed forms, and against torch's own functions and gradients."""

import dataclasses
import math

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.errors import ParameterTypeError, ParameterValueError, UnknownActivationError
from evenflow.theory import activation, activation_names, gain

SLOPE_OF_RRELU = 11 / 48

TORCH = {
    "linear": lambda x: x,
    "relu": F.relu,
    "relu6": F.relu6,
    "relu_squared": lambda x: F.relu(x) ** 2,
    "selu": F.selu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "logsigmoid": F.logsigmoid,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "tanhshrink": F.tanhshrink,
    "erf": torch.erf,
    "sin": torch.sin,
    "square": torch.square,
    "leaky_relu": F.leaky_relu,
    "prelu": lambda x: F.prelu(x, torch.tensor([0.25], dtype=x.dtype)),
    "rrelu": lambda x: F.rrelu(x, training=False),
    "elu": F.elu,
    "celu": F.celu,
    "softplus": lambda x: F.softplus(x, threshold=40),
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
}

# Torch's gradient of hardsigmoid multiplies by a float32 1/6, in float64 as well.
TOLERANCE = {"hardsigmoid": 1e-7}


def panels():
    """Return points and weights of N(0, 1): five Gauss nodes in each 1/32 of [-14, 14], kinks between."""
    nodes, weights = scipy.special.roots_legendre(5)
    middles = np.arange(-14, 14, 1 / 32) + 1 / 64
    points = (middles[:, None] + nodes / 64).ravel()
    density = np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    return torch.from_numpy(points), torch.from_numpy(np.tile(weights / 64, len(middles)) * density)


POINTS, WEIGHTS = panels()


def test_every_name_of_the_catalogue_is_compared_with_torch():
    assert set(TORCH) == set(activation_names())


@pytest.mark.parametrize("name", TORCH)
def test_the_catalogue_is_torchs_function(name):
    torch.testing.assert_close(
        torch.from_numpy(activation(name).function(POINTS.numpy())),
        TORCH[name](POINTS),
        rtol=1e-12,
        atol=1e-14,
    )


@pytest.mark.parametrize("name", TORCH)
def test_gains_agree_with_an_independent_integration_of_torchs_function_and_gradient(name):
    points = POINTS.clone().requires_grad_()
    values = TORCH[name](points)
    (slopes,) = torch.autograd.grad(values.sum(), points)
    points, values = POINTS, values.detach()
    second_moment = float((WEIGHTS * values**2).sum())
    measured, tolerance = gain(name), TOLERANCE.get(name, 1e-10)
    assert measured.forward == pytest.approx(second_moment**-0.5, rel=1e-10)
    assert measured.backward == pytest.approx(float((WEIGHTS * slopes**2).sum()) ** -0.5, rel=tolerance)
    assert measured.mean == pytest.approx(float((WEIGHTS * values).sum()), rel=1e-10, abs=1e-12)
    assert measured.second_moment == pytest.approx(second_moment, rel=1e-10)
    through_gradient = float((WEIGHTS * values * slopes * points).sum()) / second_moment
    # By integration by parts the slope needs no gradient, except where the function jumps.
    if name != "hardshrink":
        assert measured.slope == pytest.approx(through_gradient, rel=tolerance, abs=1e-10)


@pytest.mark.parametrize("name", [name for name in activation_names() if gain(name).closed_form])
def test_the_closed_form_is_the_forward_gain(name):
    measured = gain(name)
    assert eval(measured.closed_form, vars(math)) == pytest.approx(measured.forward, rel=1e-12)


def test_closed_forms_exist_for_those_that_have_a_known_one():
    with_formula = {name for name in activation_names() if gain(name).closed_form}
    assert {"linear", "relu", "leaky_relu", "elu", "selu", "gelu", "erf", "hardtanh"} <= with_formula
    assert gain("relu").closed_form == "sqrt(2)"


@settings(deadline=None)
@given(st.floats(-3, 3))
def test_the_gain_of_leaky_relu_is_that_of_he(slope):
    measured = gain("leaky_relu", slope)
    assert measured.forward == pytest.approx(math.sqrt(2 / (1 + slope**2)), rel=1e-12)
    assert measured.backward == pytest.approx(measured.forward, rel=1e-12)
    assert measured.slope == pytest.approx(1, abs=1e-12)
    assert eval(measured.closed_form, vars(math)) == pytest.approx(measured.forward, rel=1e-12)


@settings(deadline=None)
@given(st.floats(-5, 5))
def test_the_gain_of_elu_is_its_closed_form(alpha):
    measured = gain("elu", alpha)
    assert eval(measured.closed_form, vars(math)) == pytest.approx(measured.forward, rel=1e-11)


@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 0.3, 4.0, 1e3])
def test_celu_of_any_sharpness(alpha):
    def scaled_mass(rate):
        return scipy.special.erfcx(rate / math.sqrt(2)) / 2

    rate = 1 / alpha
    moment = 1 / 2 + alpha**2 * (1 / 2 - 2 * scaled_mass(rate) + scaled_mass(2 * rate))
    # For large alpha the formula cancels; for a small one the bend lies far inside a panel.
    assert gain("celu", alpha).second_moment == pytest.approx(moment, rel=1e-8)


def test_the_backward_gain_of_hardsigmoid_is_its_closed_form():
    assert gain("hardsigmoid").backward == pytest.approx(6 / math.sqrt(math.erf(3 / math.sqrt(2))), rel=1e-12)


@pytest.mark.parametrize("edge", [0.0, 0.3, 1.0, math.pi])
def test_shrinking_at_any_threshold(edge):
    tail = math.erfc(edge / math.sqrt(2))
    bulk = edge * math.sqrt(2 / math.pi) * math.exp(-(edge**2) / 2)
    assert gain("hardshrink", edge).second_moment == pytest.approx(bulk + tail, rel=1e-10)
    assert gain("softshrink", edge).second_moment == pytest.approx((1 + edge**2) * tail - bulk, rel=1e-10)
    assert gain("softshrink", edge).backward == pytest.approx(tail**-0.5, rel=1e-10)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("LeakyReLU", "leaky_relu"),
        ("leaky-relu", "leaky_relu"),
        ("SWISH", "silu"),
        ("Hard Swish", "hardswish"),
        ("gelu_new", "gelu_tanh"),
        ("conv_transpose2d", "linear"),
        ("identity", "linear"),
    ],
)
def test_names_may_be_spelt_in_several_ways(name, same):
    assert gain(name) is gain(same)


def test_a_parameter_is_part_of_the_name_and_of_the_cache():
    assert gain("elu", 2.0) is gain("elu", 2)
    assert gain("elu", 2.0).name == "elu(2.0)"
    assert gain("elu") is gain("elu", 1.0)
    assert gain("elu", 2.0) != gain("elu")


@pytest.mark.parametrize(("name", "match"), [("rellu", "relu"), ("gleu", "gelu"), ("leakyrelu6", "relu6")])
def test_an_unknown_name_is_answered_with_close_ones(name, match):
    with pytest.raises(UnknownActivationError, match=f"{name}.*did you mean .*{match}"):
        gain(name)


def test_a_name_like_no_other_is_answered_with_the_whole_catalogue():
    with pytest.raises(UnknownActivationError, match=r"known: linear, relu, .*A function can be passed"):
        gain("qqqq")


@pytest.mark.parametrize(
    ("name", "param", "error"),
    [
        ("relu", 0.1, ParameterValueError),
        ("celu", 0.0, ParameterValueError),
        ("softplus", -1.0, ParameterValueError),
        ("softshrink", -0.5, ParameterValueError),
        ("elu", math.nan, ParameterValueError),
        ("elu", 1e200, ParameterValueError),
        ("elu", True, ParameterTypeError),
        ("leaky_relu", "0.1", ParameterTypeError),
        ("leaky_relu", [0.1], ParameterTypeError),
        (3, None, ParameterTypeError),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(name, param, error):
    with pytest.raises(error):
        gain(name, param)


def test_activation_wants_a_name():
    with pytest.raises(ParameterTypeError, match="name must be a string"):
        activation(torch.tanh)


def test_a_gain_cannot_be_changed_in_the_cache():
    with pytest.raises(dataclasses.FrozenInstanceError):
        gain("relu").forward = 1.0


def test_peer_torch_calculate_gain_has_no_gelu_silu_mish_and_more():
    for name in ("gelu", "silu", "mish", "elu", "softplus", "hardswish"):
        with pytest.raises(ValueError, match="Unsupported nonlinearity"):
            torch.nn.init.calculate_gain(name)
        assert gain(name).forward > 1


def test_peer_torch_calculate_gain_of_selu_is_an_empirical_three_quarters():
    assert torch.nn.init.calculate_gain("selu") == 3 / 4
    assert gain("selu").forward == pytest.approx(1, abs=1e-14)
