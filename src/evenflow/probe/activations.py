"""Recognise an activation function by the call that applied it, and measure its plateaus."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# abs(tanh(x)) > 0.97 is saturated since Glorot & Bengio (2010); the others at the same share of their range.
PLATEAU = {
    "tanh": 2.0923,
    "sigmoid": 2 * 2.0923,
    "softsign": 0.97 / 0.03,
    "hardtanh": 1.0,
    "hardsigmoid": 3.0,
    "erf": 1.535,
}

# Below this pre-activation both the function and its derivative are exactly zero.
FLAT_BELOW = {"relu": 0.0, "relu6": 0.0, "hardswish": -3.0}

NAMES = {
    "celu", "elu", "erf", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid",
    "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "sin", "softplus", "softshrink", "softsign",
    "tanh", "tanhshrink",
}  # fmt: skip

ALIASES = {"log_sigmoid": "logsigmoid", "special_expit": "sigmoid", "expit": "sigmoid", "special_erf": "erf"}

# Activations of one number: the keyword of their second argument, and its default in torch.
PARAMETERS = {"leaky_relu": ("negative_slope", 0.01), "elu": ("alpha", 1.0), "celu": ("alpha", 1.0)}


def recognise(function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, float | None] | None:
    """Name and parameter of the activation that a torch function computes; None for any other function."""
    name = function if function in NAMES else function.removesuffix("_")
    name = ALIASES.get(name, name)
    if name in ("clamp", "clamp_min", "clip") and _is_relu(args, kwargs):
        name = "relu"
    if name not in NAMES:
        return None
    if name == "gelu" and kwargs.get("approximate") == "tanh":
        name = "gelu_tanh"
    return ("leaky_relu" if name == "rrelu" else name), _parameter(name, args, kwargs)


def _parameter(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float | None:
    if name in PARAMETERS:
        return float(_argument(args, kwargs, 1, *PARAMETERS[name]))
    if name == "prelu":
        return float(_argument(args, kwargs, 1, "weight", torch.tensor(0.25)).detach().float().mean())
    if name == "rrelu":
        lower, upper = _argument(args, kwargs, 1, "lower", 1 / 8), _argument(args, kwargs, 2, "upper", 1 / 3)
        return float((lower + upper) / 2)
    return None


def _argument(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _is_relu(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    low = _argument(args, kwargs, 1, "min", None)
    high = _argument(args, kwargs, 2, "max", None)
    return isinstance(low, (int, float)) and low == 0 and high is None


def saturated_share(name: str, pre: Tensor) -> float | None:
    """Share of pre-activations on a plateau of the function; None where it has none."""
    if name not in PLATEAU or pre.numel() == 0:
        return None
    return float((pre.detach().abs() > PLATEAU[name]).float().mean())


def dead_share(name: str, pre: Tensor, unit_dim: int) -> float | None:
    """Share of units whose pre-activation lies where the function is flat and zero, for every sample and position."""
    if name not in FLAT_BELOW or pre.dim() < 2 or pre.numel() == 0:
        return None
    units = pre.detach().movedim(unit_dim, 0).flatten(1)
    return float((units.amax(dim=1) <= FLAT_BELOW[name]).float().mean())
