"""The factor that a weight's standard deviation needs for the activation that follows."""

import math
from collections.abc import Callable
from typing import Any

from evenflow import checks
from evenflow.theory import gain as measured_gain

_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
_TORCH = dict.fromkeys(_LINEAR, 1.0) | {"sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 3 / 4}


def calculate_gain(nonlinearity: str | Callable[..., Any], param: float | None = None) -> float:
    r"""Return the recommended gain for an activation.

    $$ \mathrm{Var}(w) = \text{gain}^2 / \text{fan\_in} $$

    For the names that torch knows, torch's value, which is a convention: 1 for "linear", the convolutions and
    "sigmoid", 5/3 for "tanh", $\sqrt 2$ for "relu", $\sqrt{2 / (1 + \text{param}^2)}$ for "leaky_relu",
    3/4 for "selu". For all others, and for callables, the forward gain $\mathbb{E}[f(z)^2]^{-1/2}$, $z
    \sim N(0, 1)$, of `evenflow.gain`, which also says whether that gain is stable in depth.

    Args:
        nonlinearity: A name, or an elementwise function or module.
        param: Parameter of the activation, such as the negative slope of "leaky_relu" (by default 0.01). As
            in torch, the other names that torch knows take none and leave it unread.

    Returns:
        The gain.

    Raises:
        UnknownActivationError: No activation is known by this name.
        ParameterTypeError: `nonlinearity` is neither a name nor callable, or `param` is no number.
        ParameterValueError: `param` is NaN or infinite, or the activation takes none.

    Examples:
        >>> round(calculate_gain("leaky_relu", 0.2), 4)
        1.3868
        >>> round(calculate_gain("gelu"), 4)
        1.5335

    References:
        Drop-in for `torch.nn.init.calculate_gain`. He et al. 2015, "Delving deep into rectifiers", equation
        15.
    """
    if isinstance(nonlinearity, str):
        if nonlinearity in _TORCH:
            return _TORCH[nonlinearity]
        if nonlinearity == "leaky_relu":
            slope = 0.01 if param is None else checks.real("param", param)
            return math.sqrt(2.0 / (1.0 + slope * slope))
    return measured_gain(nonlinearity, param).forward
