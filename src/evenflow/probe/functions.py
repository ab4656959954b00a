"""What the torch functions mean to a tracer: which apply weights, which normalise, which join paths."""

import math
from collections.abc import Sequence

from torch import Tensor

from evenflow.theory import Fans

# Linear maps of two operands, written left to right.
PRODUCT = {
    "matmul", "linalg_matmul", "__matmul__", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm",
}  # fmt: skip

LINEAR = PRODUCT | {
    "linear", "bilinear", "einsum", "tensordot", "inner", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d",
}  # fmt: skip

EMBEDDING = {"embedding", "embedding_bag"}

# With numbers that come with the data these are embeddings too.
LOOKUPS = {"__getitem__", "index_select"}

NORM = {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"}

# These also make one weight of others: a low-rank pair, a power iteration, a standardised kernel.
ALGEBRA = PRODUCT | NORM | {"einsum", "tensordot", "inner"}

OPAQUE = {
    "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell",
    "multi_head_attention_forward",
}  # fmt: skip

# Several paths come together: what only one of them passed has a way around it.
SUM = {
    "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "subtract", "__sub__", "__rsub__", "__isub__",
    "addcmul", "lerp",
}  # fmt: skip
CONCATENATION = {"cat", "concat", "concatenate", "stack", "hstack", "vstack"}


def role_of(function: str) -> str | None:
    """The role of a function that makes a layer of its own; None for all others."""
    if function in LINEAR:
        return "weight"
    if function in EMBEDDING:
        return "embedding"
    if function in NORM:
        return "norm"
    return "opaque" if function in OPAQUE else None


def joined_paths(function: str, operands: Sequence[Tensor], result: Tensor) -> list[Tensor]:
    """The operands that a function brings together as equal paths; a mask or bias that is broadcast is none."""
    if function in CONCATENATION:
        return list(operands)
    return [t for t in operands if t.shape == result.shape] if function in SUM else []


def unit_dim_of(function: str) -> int:
    """The dimension of the function's units: 1 for convolutions and batch norm, else the last."""
    return 1 if function.startswith("conv") or function in ("batch_norm", "group_norm", "instance_norm") else -1


def fans_of_matrix(function: str, shape: Sequence[int], *, leads: bool) -> Fans | None:
    """Fans of a matrix (or of a stack of them) that a function multiplies with; None for other functions.

    Args:
        function: The function's name.
        shape: The matrix' shape.
        leads: Whether the matrix is the left operand, so that its rows are the outputs.
    """
    if len(shape) < 2 or (function != "linear" and function not in PRODUCT):
        return None
    outputs, inputs = shape[-2:] if leads or function == "linear" else reversed(shape[-2:])
    return Fans(float(inputs), float(outputs))


def fans_of_einsum(equation: object, shape: Sequence[int], place: int) -> Fans | None:
    """Fans of a weight in a sum of products: what is summed over it, and the outputs that it alone counts.

    Args:
        equation: Such as "bi,oi->bo"; an ellipsis may stand for dimensions of the others.
        shape: The weight's shape.
        place: Which term is the weight's.

    Returns:
        The fans; None where the equation is no such string.

    Examples:
        >>> fans_of_einsum("...td, hde -> ...hte", (8, 64, 16), 1)
        Fans(fan_in=64.0, fan_out=128.0)
    """
    if not isinstance(equation, str):
        return None
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    term, others = terms[place], set("".join(terms[:place] + terms[place + 1 :]))
    if len(set(term)) < len(term) or len(term) != len(shape) or "." in term:
        return None
    kept = set(right) if arrow else {letter for letter in left if left.count(letter) == 1}
    sizes = dict(zip(term, shape, strict=True))
    inputs = math.prod(size for letter, size in sizes.items() if letter not in kept)
    outputs = math.prod(size for letter, size in sizes.items() if letter in kept and letter not in others)
    return Fans(float(inputs), float(outputs))
