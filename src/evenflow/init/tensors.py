"""Which tensors can be initialised in place."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from evenflow.errors import MetaTensorError, ParameterTypeError, SharedMemoryError, TensorDtypeError, TensorShapeError
from evenflow.init.sharded import here, require_placed


def writable(tensor: object) -> Tensor:
    """Return the tensor if each of its elements can be given its own value.

    Raises:
        ParameterTypeError: It is no tensor.
        TensorShapeError: It is a lazy parameter that has no shape yet.
        TensorDtypeError: It is sparse, nested or quantised.
        MetaTensorError: It has no values yet.
        ShardingError: It is sharded in a way that does not say which elements are here.
        SharedMemoryError: Some of its elements share memory.

    Examples:
        >>> import torch
        >>> writable(torch.zeros(3, 1).expand(3, 4))
        Traceback (most recent call last):
        ...
        evenflow.errors.SharedMemoryError: elements of this tensor of shape (3, 4) share memory (its strides
        are (1, 0)); initialise the tensor it was expanded from, or a clone
    """
    if not isinstance(tensor, Tensor):
        raise ParameterTypeError(f"tensor must be a torch.Tensor; got {type(tensor).__name__}")
    if is_lazy(tensor):
        raise TensorShapeError("a lazy parameter has no shape before its first input; run one batch, then ask again")
    if tensor.is_meta:
        raise MetaTensorError(
            f"this tensor of shape {tuple(tensor.shape)} lies on the meta device and has no values to write; give it "
            "memory first, with model.to_empty(device=...) or torch.empty_like(tensor, device=...)"
        )
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_quantized:
        kind = "nested" if tensor.is_nested else f"quantised ({tensor.dtype})" if tensor.is_quantized else tensor.layout
        raise TensorDtypeError(
            f"this tensor is {kind}, whose elements cannot be written one by one; initialise a dense one and convert it"
        )
    require_placed(tensor)
    if _overlaps(here(tensor)):
        raise SharedMemoryError(
            f"elements of this tensor of shape {tuple(tensor.shape)} share memory (its strides are "
            f"{tensor.stride()}); initialise the tensor it was expanded from, or a clone"
        )
    return tensor


def drawable(tensor: object, *, real: bool = False) -> Tensor:
    """Return the tensor if it is writable and can hold random draws.

    Args:
        tensor: What the caller passed.
        real: Whether a complex tensor is refused too.

    Raises:
        TensorDtypeError: It has no floating-point or complex dtype.

    Examples:
        >>> import torch
        >>> drawable(torch.zeros(3, dtype=torch.int64))
        Traceback (most recent call last):
        ...
        evenflow.errors.TensorDtypeError: random draws need a floating-point or complex tensor;
        got torch.int64: convert it first, for example with tensor.float()
    """
    target = writable(tensor)
    if real and target.is_complex():
        raise TensorDtypeError(
            f"an interval has no meaning for complex numbers; got {target.dtype}: initialise "
            "torch.view_as_real(tensor) instead"
        )
    if not (target.is_floating_point() or target.is_complex()):
        raise TensorDtypeError(
            f"random draws need a floating-point or complex tensor; got {target.dtype}: convert it first, "
            "for example with tensor.float()"
        )
    return target


def of_dimensions(tensor: Tensor, low: int, high: int | None, what: str) -> None:
    """Refuse a tensor whose number of dimensions is outside [low, high].

    Raises:
        TensorShapeError: It has too few or too many.
    """
    if tensor.dim() < low or (high is not None and tensor.dim() > high):
        wanted = f"at least {low}" if high is None else f"{low}" if low == high else f"{low} to {high}"
        raise TensorShapeError(f"{what} needs a tensor of {wanted} dimensions; got shape {tuple(tensor.shape)}")


def _overlaps(tensor: Tensor) -> bool:
    """Whether two indices lead to one memory location."""
    steps = sorted((stride, size) for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)
    if tensor.numel() == 0 or not steps:
        return False
    reach = 0
    for stride, size in steps:
        if stride <= reach:
            return stride == 0 or _repeats(steps)
        reach += stride * (size - 1)
    return False


def _repeats(steps: list[tuple[int, int]]) -> bool:
    """Whether sums of multiples of the strides coincide, by listing them: strides as odd as this are rare."""
    offsets = np.zeros(1, dtype=np.int64)
    for stride, size in steps:
        offsets = np.add.outer(offsets, stride * np.arange(size)).reshape(-1)
    return len(np.unique(offsets)) < len(offsets)
