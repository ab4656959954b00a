"""The catalogue of activations: for each name a NumPy function, its kinks and its gain in closed form."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ArrayFunction = Callable[[Array], Array]


@dataclass(frozen=True)
class Activation:
    """An elementwise function, and what is known about it.

    Attributes:
        name: Torch's name for it, with the parameter where there is one.
        function: Elementwise on float64 arrays.
        kinks: Where the function is not smooth.
        closed_form: The forward gain as a formula in the names of Python's `math`, where there is one.
    """

    name: str
    function: ArrayFunction
    kinks: tuple[float, ...] = ()
    closed_form: str | None = None


@dataclass(frozen=True)
class Family:
    """Activations that differ in one number.

    Attributes:
        build: From the family's name and the number to the activation.
        default: Torch's default for the number.
        low: The least number allowed.
        open_low: Whether `low` itself is excluded.
    """

    build: Callable[[str, float], Activation]
    default: float
    low: float = -math.inf
    open_low: bool = False


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _softplus(x: Array) -> Array:
    return np.logaddexp(np.zeros_like(x), x)


def _sigmoid(x: Array) -> Array:
    return np.exp(-_softplus(-x))


def _gelu_tanh(x: Array) -> Array:
    return x * _sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x**3))


def _elu(x: Array, alpha: float, rate: float = 1.0) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(rate * np.minimum(x, 0)))


def _elu_gain(alpha: float, scale: float = 1.0) -> str:
    # E[exp(c z); z < 0] = exp(c^2 / 2) erfc(c / sqrt(2)) / 2, for c = 0, 1 and 2.
    negative = "1/2 - exp(1/2)*erfc(1/sqrt(2)) + exp(2)*erfc(sqrt(2))/2"
    return f"1/({scale!r}*sqrt(1/2 + ({alpha!r})**2*({negative})))"


def _build_leaky_relu(name: str, slope: float) -> Activation:
    closed_form = f"sqrt(2/(1 + ({slope!r})**2))"
    return Activation(f"{name}({slope!r})", lambda x: np.where(x > 0, x, slope * x), (0,), closed_form)


def _build_elu(name: str, alpha: float) -> Activation:
    return Activation(f"{name}({alpha!r})", lambda x: _elu(x, alpha), (0,), _elu_gain(alpha))


def _build_celu(name: str, alpha: float) -> Activation:
    return Activation(f"{name}({alpha!r})", lambda x: _elu(x, alpha, 1 / alpha), (0,))


def _build_softplus(name: str, beta: float) -> Activation:
    return Activation(f"{name}({beta!r})", lambda x: _softplus(beta * x) / beta)


def _build_softshrink(name: str, edge: float) -> Activation:
    return Activation(f"{name}({edge!r})", lambda x: x - np.clip(x, -edge, edge), (-edge, edge))


def _build_hardshrink(name: str, edge: float) -> Activation:
    return Activation(f"{name}({edge!r})", lambda x: np.where(np.abs(x) > edge, x, 0.0), (-edge, edge))


FAMILIES = {
    "leaky_relu": Family(_build_leaky_relu, 0.01),
    "prelu": Family(_build_leaky_relu, 0.25),
    # In evaluation mode: the mean of torch's slopes 1/8 to 1/3.
    "rrelu": Family(_build_leaky_relu, 11 / 48),
    "elu": Family(_build_elu, 1.0),
    "celu": Family(_build_celu, 1.0, low=0, open_low=True),
    "softplus": Family(_build_softplus, 1.0, low=0, open_low=True),
    "softshrink": Family(_build_softshrink, 0.5, low=0),
    "hardshrink": Family(_build_hardshrink, 0.5, low=0),
}

_ACTIVATIONS = (
    Activation("linear", lambda x: x, (), "1"),
    Activation("relu", lambda x: np.maximum(x, 0), (0,), "sqrt(2)"),
    Activation("relu6", lambda x: np.clip(x, 0, 6), (0, 6)),
    Activation("relu_squared", lambda x: np.maximum(x, 0) ** 2, (0,), "sqrt(2/3)"),
    Activation("selu", lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA), (0,), _elu_gain(_SELU_ALPHA, _SELU_SCALE)),
    Activation("gelu", lambda x: x / 2 * _erfc(-x / math.sqrt(2)), (), "1/sqrt(1/3 + 1/(2*pi*sqrt(3)))"),
    Activation("gelu_tanh", _gelu_tanh),
    Activation("silu", lambda x: x * _sigmoid(x)),
    Activation("mish", lambda x: x * np.tanh(_softplus(x))),
    Activation("tanh", np.tanh),
    Activation("sigmoid", _sigmoid),
    Activation("logsigmoid", lambda x: -_softplus(-x)),
    Activation("softsign", lambda x: x / (1 + np.abs(x)), (0,)),
    Activation("hardtanh", lambda x: np.clip(x, -1, 1), (-1, 1), "1/sqrt(1 - 2*exp(-1/2)/sqrt(2*pi))"),
    Activation("hardsigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), (-3, 3)),
    Activation("hardswish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), (-3, 3)),
    Activation("tanhshrink", lambda x: x - np.tanh(x)),
    Activation("erf", _erf, (), "sqrt(pi/(2*asin(2/3)))"),
    Activation("sin", np.sin, (), "sqrt(2/(1 - exp(-2)))"),
    Activation("square", np.square, (), "1/sqrt(3)"),
)
ACTIVATIONS = {known.name: known for known in _ACTIVATIONS}
