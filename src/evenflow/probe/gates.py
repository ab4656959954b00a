"""Activations that are written as a product with a gate: x * sigmoid(x), x * tanh(softplus(x)), and their like.

What such a product computes is told by its values: its constants and the order of its factors differ between authors.
"""

from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

PRODUCTS = {"mul", "mul_", "multiply", "multiply_", "__mul__", "__rmul__", "__imul__"}

# Activations that the first factor may have been taken for, and those that the product may be.
GATES = {"sigmoid", "hardsigmoid", "tanh", "erf", "softplus", "relu6"}
GATED: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "mish": F.mish,
    "hardswish": F.hardswish,
}

# GELU is (x / 2) * (1 + erf(x / sqrt(2))), or x * (1 + erf(x / sqrt(2))) / 2; hard swish is x * relu6(x + 3) / 6.
HALVED = (1, 2)
DIVIDED = (1, 2, 6)

# Share of its size by which a product may differ from the function: x * sigmoid(1.702 x) stands for GELU.
LIKE = 0.03

# So many values tell the functions apart.
SAMPLE = 4096


def product_of(other: Tensor, gate: Tensor) -> tuple[str, int] | None:
    """Name of the activation that a product computes, up to a constant factor, and how often `other` is in its input.

    Args:
        other: The factor that no activation made.
        gate: The factor that one made, of the same shape.

    Returns:
        The closest function; None where none is close.
    """
    factor, opening = (_sample(tensor) for tensor in (other, gate))
    target = factor * opening
    size = float(target.norm())
    if not 0 < size < float("inf"):
        return None
    away = {
        (name, times): min(float((divisor * GATED[name](times * factor) - target).norm()) for divisor in DIVIDED)
        for name, times in product(GATED, HALVED)
    }
    closest = min(away, key=lambda key: away[key])
    return closest if away[closest] < LIKE * size else None


def _sample(tensor: Tensor) -> Tensor:
    return tensor.detach().reshape(-1)[:SAMPLE].to(torch.float32)
