import math

import pytest
import torch

import evenflow as ef
from evenflow.errors import ParameterTypeError, ParameterValueError, UnknownActivationError

TORCH = ["linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]
TORCH += ["sigmoid", "tanh", "relu", "leaky_relu", "selu"]


@pytest.mark.parametrize("param", [None, 0.0, 0.3, 2])
@pytest.mark.parametrize("name", TORCH)
def test_what_torch_knows_has_torchs_gain(name, param):
    assert ef.init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "elu", "softplus", "hardswish"])
def test_a_layer_with_the_gain_keeps_the_second_moment(name):
    function = getattr(torch.nn.functional, name)
    signal = function(ef.init.normal_(torch.empty(4096, 512), stream=ef.random.Stream(0, "x")))
    weight = ef.init.kaiming_normal_(torch.empty(512, 512), nonlinearity=name, stream=ef.random.Stream(0, "w"))
    output = signal @ weight.T
    # Between weights the mean varies by sqrt(2) / 512, between samples by less than 1 / sqrt(4096): 5 sigma
    # of both together is below 0.09.
    assert abs(output.double().square().mean().item() - 1) < 0.09


def test_a_callable_has_a_gain():
    assert math.isclose(ef.init.calculate_gain(torch.relu), math.sqrt(2), rel_tol=1e-6)


def test_the_gain_of_others_is_that_of_theory():
    assert ef.init.calculate_gain("gelu") == ef.gain("gelu").forward


def test_kaiming_uses_the_slope_for_leaky_relu_only():
    stream = ef.random.Stream(0, "w")
    relu = ef.init.kaiming_normal_(torch.zeros(8, 8), 0.7, nonlinearity="relu", stream=stream)
    assert torch.equal(relu, ef.init.he_normal_(torch.zeros(8, 8), stream=stream))
    gelu = ef.init.kaiming_normal_(torch.zeros(8, 8), 0.7, nonlinearity="gelu", stream=stream)
    expected = ef.init.normal_(torch.zeros(8, 8), std=ef.gain("gelu").forward / math.sqrt(8), stream=stream)
    torch.testing.assert_close(gelu, expected)


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownActivationError, match="rleu"):
        ef.init.calculate_gain("rleu")
    with pytest.raises(UnknownActivationError, match="rleu"):
        ef.init.kaiming_normal_(torch.zeros(3, 3), nonlinearity="rleu")


@pytest.mark.parametrize(
    ("param", "error"),
    [(math.nan, ParameterValueError), (True, ParameterTypeError), ("1", ParameterTypeError)],
)
def test_the_slope_is_a_finite_number(param, error):
    with pytest.raises(error, match="param"):
        ef.init.calculate_gain("leaky_relu", param)
