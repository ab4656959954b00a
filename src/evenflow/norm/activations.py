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
