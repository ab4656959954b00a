"""The activations that a normalisation layer can apply to its own output."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from evenflow.errors import UnknownActivationError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": F.hardswish,
}


_aten = torch.ops.aten
_BACKWARD: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda g, z: _aten.threshold_backward(g, z, 0),
    "leaky_relu": lambda g, z: _aten.leaky_relu_backward(g, z, 0.01, False),
    "silu": lambda g, z: g * torch.sigmoid(z) * (1 + z * torch.sigmoid(-z)),  # torch's cannot be differentiated
    "gelu": _aten.gelu_backward,
    "sigmoid": lambda g, z: _aten.sigmoid_backward(g, torch.sigmoid(z)),
    "tanh": lambda g, z: _aten.tanh_backward(g, torch.tanh(z)),
    "hardswish": _aten.hardswish_backward,
}


def check_activation(name: str | None) -> str | None:
    """Return `name` if it is None or names an activation.

    Raises:
        UnknownActivationError: It is something else.

    Examples:
        >>> check_activation("relu")
        'relu'
    """
    if name is not None and name not in ACTIVATIONS:
        raise UnknownActivationError(
            f"activation must be None or one of {', '.join(map(repr, ACTIVATIONS))}; got {name!r}. "
            "For any other, put its module after this layer"
        )
    return name


def activate(name: str | None, x: Tensor) -> Tensor:
    """Apply the named activation with torch's default parameters; None leaves `x` as it is."""
    return x if name is None else ACTIVATIONS[name](x)


def carry_back(name: str | None, gradient: Tensor, x: Tensor) -> Tensor:
    """Turn the gradient of the output of `activate` into that of its input, differentiably."""
    return gradient if name is None else _BACKWARD[name](gradient, x)
