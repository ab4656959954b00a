"""Recognise an activation function by the call that applied it, and measure its plateaus."""

from collections.abc import Mapping, Sequence
from typing import Any

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
PARAMETERS = {
    "leaky_relu": ("negative_slope", 0.01),
    "elu": ("alpha", 1.0),
    "celu": ("alpha", 1.0),
    "softplus": ("beta", 1.0),
    "softshrink": ("lambd", 0.5),
    "hardshrink": ("lambd", 0.5),
}

# What a function that clips at these two ends is.
CLIPS = {(0, None): "relu", (0, 6): "relu6", (-1, 1): "hardtanh"}

Args = Sequence[Any]
Kwargs = Mapping[str, Any]


def recognise(function: str, args: Args, kwargs: Kwargs) -> tuple[str, float | None] | None:
    """Name and parameter of the activation that a torch function computes; None for any other function."""
    name = function if function in NAMES else function.removesuffix("_")
    name = ALIASES.get(name, name)
    if name in ("clamp", "clamp_min", "clip"):
        return _clip(_argument(args, kwargs, 1, "min", None), _argument(args, kwargs, 2, "max", None))
    if name == "hardtanh":
        return _clip(_argument(args, kwargs, 1, "min_val", -1), _argument(args, kwargs, 2, "max_val", 1))
    if name not in NAMES:
        return None
    if name == "gelu" and kwargs.get("approximate") == "tanh":
        name = "gelu_tanh"
    return ("leaky_relu" if name == "rrelu" else name), _parameter(name, args, kwargs)


def _parameter(name: str, args: Args, kwargs: Kwargs) -> float | None:
    if name == "rrelu":
        lower, upper = _argument(args, kwargs, 1, "lower", 1 / 8), _argument(args, kwargs, 2, "upper", 1 / 3)
        return float((lower + upper) / 2)
    if name == "prelu":
        return float(_argument(args, kwargs, 1, "weight", None).detach().float().mean())
    return float(_argument(args, kwargs, 1, *PARAMETERS[name])) if name in PARAMETERS else None


def _argument(args: Args, kwargs: Kwargs, place: int, name: str, default: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


def _clip(low: Any, high: Any) -> tuple[str, None] | None:
    plain = all(end is None or isinstance(end, (int, float)) for end in (low, high))
    name = CLIPS.get((low, high)) if plain else None
    return None if name is None else (name, None)


def saturated_share(name: str, pre: Tensor) -> float | None:
    """Share of pre-activations on a plateau of the function; None where it has none."""
    if name not in PLATEAU or pre.numel() == 0:
        return None
    return float((pre.detach().abs() > PLATEAU[name]).sum()) / pre.numel()


def dead_share(name: str, pre: Tensor, unit_dim: int) -> float | None:
    """Share of units whose pre-activation lies where the function is flat and zero, for every sample and position."""
    if name not in FLAT_BELOW or pre.dim() < 2 or pre.numel() == 0:
        return None
    others = [dim for dim in range(pre.dim()) if dim != unit_dim % pre.dim()]
    return float((pre.detach().amax(dim=others) <= FLAT_BELOW[name]).float().mean())
