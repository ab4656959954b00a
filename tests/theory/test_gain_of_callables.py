import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow.errors import NonFiniteError, ParameterTypeError, ParameterValueError, TensorShapeError
from evenflow.theory import activation, activation_names, gain


def assert_same(measured, expected, rel=1e-10):
    assert measured.forward == pytest.approx(expected.forward, rel=rel)
    assert measured.backward == pytest.approx(expected.backward, rel=rel)
    assert measured.slope == pytest.approx(expected.slope, rel=rel, abs=1e-10)
    assert measured.mean == pytest.approx(expected.mean, rel=rel, abs=1e-12)


@pytest.mark.parametrize("name", activation_names())
def test_a_callable_has_the_gain_of_its_name(name):
    function = activation(name).function
    assert_same(gain(function), gain(name))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (torch.tanh, gain("tanh")),
        (F.gelu, gain("gelu")),
        (F.relu, gain("relu")),
        (lambda x: x * torch.sigmoid(x), gain("silu")),
        (lambda x: x.clamp(min=0), gain("relu")),
        (torch.nn.functional.leaky_relu_, gain("leaky_relu")),
        (nn.LeakyReLU(0.2), gain("leaky_relu", 0.2)),
        (nn.GELU(approximate="tanh"), gain("gelu_tanh")),
        (nn.ReLU(inplace=True), gain("relu")),
        (nn.PReLU(), gain("prelu")),
        (nn.RReLU(), gain("rrelu")),
        (nn.Identity(), gain("linear")),
        (nn.Sequential(nn.Tanh(), nn.Dropout(0.5)), gain("tanh")),
    ],
    ids=[
        "tanh",
        "gelu",
        "relu",
        "swish by hand",
        "clamp",
        "in place",
        "LeakyReLU",
        "GELU",
        "ReLU in place",
        "PReLU",
        "RReLU",
        "Identity",
        "with dropout",
    ],
)
def test_torch_functions_and_modules(function, expected):
    assert_same(gain(function), expected)


@pytest.mark.parametrize("shift", [0.3, 1 / 3, math.pi])
def test_a_kink_anywhere_is_found(shift):
    measured = gain(lambda x: np.maximum(x - shift, 0))
    tail = math.erfc(shift / math.sqrt(2)) / 2
    density = math.exp(-(shift**2) / 2) / math.sqrt(2 * math.pi)
    assert measured.mean == pytest.approx(density - shift * tail, rel=1e-10)
    assert measured.second_moment == pytest.approx((1 + shift**2) * tail - shift * density, rel=1e-10)
    assert measured.backward == pytest.approx(tail**-0.5, rel=1e-10)


def test_a_jump_anywhere_is_found_and_its_derivative_is_taken_almost_everywhere():
    measured = gain(nn.Threshold(1 / 3, -1.0))
    above = math.erfc(1 / 3 / math.sqrt(2)) / 2
    density = math.exp(-1 / 18) / math.sqrt(2 * math.pi)
    assert measured.second_moment == pytest.approx(above + density / 3 + (1 - above), rel=1e-10)
    assert measured.backward == pytest.approx(above**-0.5, rel=1e-10)


@pytest.mark.parametrize("step", [np.sign, lambda x: np.sign(np.sin(15 * x)), lambda x: np.sign(x - 0.3)])
def test_a_step_passes_no_gradient(step):
    measured = gain(step)
    assert measured.forward == pytest.approx(1, rel=1e-12)
    assert measured.backward == math.inf
    assert measured.slope == pytest.approx(0, abs=1e-12)


def test_a_constant_has_a_gain_and_passes_no_gradient():
    measured = gain(lambda x: np.full_like(x, 2.0))
    assert (measured.forward, measured.backward) == (pytest.approx(0.5), math.inf)


@pytest.mark.parametrize("rate", [1.0, 2.0, 4.0])
def test_fast_growth_is_integrated_in_full(rate):
    assert gain(lambda x: np.exp(rate * x)).second_moment == pytest.approx(math.exp(2 * rate**2), rel=1e-10)


def test_fast_oscillation_is_resolved():
    measured = gain(lambda x: np.sin(200 * x))
    assert measured.forward == pytest.approx(math.sqrt(2), rel=1e-10)
    assert measured.backward == pytest.approx(math.sqrt(2) / 200, rel=1e-10)


@pytest.mark.parametrize("function", [lambda x: np.tanh(x.astype(np.float32)), lambda x: torch.tanh(x.float())])
def test_a_function_that_computes_in_float32_is_measured_to_its_own_precision(function):
    assert_same(gain(function), gain("tanh"), rel=1e-4)


def test_a_function_as_coarse_as_bfloat16_is_refused():
    with pytest.raises(ParameterValueError, match=r"does not settle under refinement"):
        gain(lambda x: torch.tanh(x).bfloat16())


@pytest.mark.parametrize("function", [lambda x: x > 0, lambda x: (x > 0).astype(int)])
def test_booleans_and_integers_are_numbers(function):
    assert gain(function).second_moment == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (torch.tanh, "tanh"),
        (np.tanh, "tanh"),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (abs, "abs"),
    ],
)
def test_a_callable_is_called_by_its_name(function, name):
    assert gain(function).name == name
    assert gain(function).closed_form is None


def test_a_module_is_left_as_it_was():
    module = nn.PReLU().train()
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    before, state = module.weight.detach().clone(), torch.get_rng_state()
    gain(module)
    assert module.training
    assert module.weight.dtype == torch.float32
    assert module.weight.grad is None
    assert torch.equal(module.weight, before)
    assert torch.equal(torch.get_rng_state(), state)


def crashes(x):
    raise ZeroDivisionError("crashed")


def crashes_far_out(x):
    if np.abs(x).max() > 5:
        raise ValueError("far out")
    return x


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (
            crashes,
            ParameterValueError,
            "crashes must take a float64 array .* ZeroDivisionError on a NumPy array: crashed",
        ),
        (
            crashes_far_out,
            ParameterValueError,
            r"crashes_far_out must be defined everywhere; .* ValueError: far out",
        ),
        (math.tanh, ParameterValueError, "wrapped in numpy.vectorize"),
        (lambda x: np.sqrt(x + 0j), ParameterValueError, "complex128"),
        (lambda x: None, ParameterValueError, "must take a float64 array"),
        (nn.Linear(3, 3), ParameterValueError, "RuntimeError on a torch tensor"),
        (nn.ReLU, ParameterValueError, "must take a float64 array"),
        (lambda x: x.sum(), TensorShapeError, r"must return the shape it is given, .* it returned \(\)"),
        (lambda x: x[:-1], TensorShapeError, "must return the shape"),
        (nn.Unflatten(0, (1, -1)), TensorShapeError, "must return the shape"),
        (np.log, NonFiniteError, "log must be finite everywhere; at .* it is nan"),
        (lambda x: np.exp(x**4), NonFiniteError, "inf"),
        (lambda x: torch.where(x > 3, torch.nan, x), NonFiniteError, "at 3.* it is nan"),
        (lambda x: np.exp(x**2 / 4), ParameterValueError, "grows too fast"),
        (
            lambda x: x * np.random.default_rng().random(x.shape),
            ParameterValueError,
            "same values at every call",
        ),
        (lambda x: 0 * x, ParameterValueError, r"second moment in \(0, inf\) .* got 0.0"),
        (lambda x: 1e200 * x, ParameterValueError, r"second moment in \(0, inf\) .* got inf"),
        (3.0, ParameterTypeError, "name of an activation or a function; got 3.0"),
        (None, ParameterTypeError, "name of an activation or a function; got None"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_callable_that_cannot_be_measured_is_told_why(function, error, message):
    with pytest.raises(error, match=message):
        gain(function)


def test_a_parameter_beside_a_callable_is_refused():
    with pytest.raises(ParameterValueError, match="bind it there"):
        gain(F.leaky_relu, 0.2)


def test_a_scalar_function_can_be_vectorized():
    assert_same(gain(np.vectorize(math.tanh)), gain("tanh"))


@pytest.mark.parametrize("function", [nn.Softmax(-1), lambda x: F.normalize(x, dim=-1), lambda x: x / np.std(x)])
def test_a_function_that_looks_at_its_neighbours_has_no_gain(function):
    with pytest.raises(ParameterValueError, match="by itself"):
        gain(function)
