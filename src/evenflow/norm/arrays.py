"""From tensors to the arrays that the kernels go through, and back."""

import ctypes
import sys
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evenflow.kernels import batch_norm as kernels
from evenflow.norm.activations import ACTIVATIONS
from evenflow.norm.formula import Parts

Array = NDArray[Any]

_NUMBERS = {name: number for number, name in enumerate((None, *ACTIVATIONS))}
_EXACT = (torch.float32, torch.float64)
_ELEMENTS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "uint16"}
# Memory of at least this size comes from the system as pages that are empty, and is given back as soon as it is freed.
_FRESH_BYTES, _HUGE_PAGE, _MADV_HUGEPAGE = 2**22, 2**21, 14


def kernel(
    x: Tensor, residual: Tensor | None, activation: str | None, *, here: bool = False
) -> kernels.Normalizer | None:
    """Return the kernel for a batch, or None: it is small, of another type, or there is no compiler."""
    element = _ELEMENTS.get(x.dtype)
    if element is None or x.device.type != "cpu" or x.numel() == 0:
        return None
    return kernels.find_normalizer(
        _NUMBERS[activation], residual is not None, _in_rows(x), element, x.numel(), here=here
    )


def forward(
    found: kernels.Normalizer, parts: Parts, moments: Tensor | None, eps: float, *, here: bool = False
) -> tuple[Tensor, kernels.Table]:
    """Normalise by a kernel; see `formula.normalized`. A dense batch is overwritten if the output goes `here`.

    Returns:
        The output, and the table of the channels, with the moments in it.
    """
    x = _dense(parts.x)
    y = x if here else _empty_like(x)
    array = _array(x)
    table = kernels.new_table(array.shape[1], _vector(parts.weight), _vector(parts.bias))
    if moments is None:
        kernels.begin_at_first(table, array)
    else:
        kernels.moments_in(table)[:] = moments.numpy()
    residual = None if parts.residual is None else _array(_laid_out_as(x, parts.residual))
    found.normalize(array, residual, _array(y), table, eps, moments is not None, torch.get_num_threads())
    return _restored(parts.x, x, y), table


def backward(
    found: kernels.Normalizer, dy: Tensor, parts: Parts, table: kernels.Table, eps: float, *, given: bool
) -> Parts:
    """Carry a gradient back by a kernel.

    Args:
        found: The kernel.
        dy: Gradient of the output.
        parts: What was normalised.
        table: As `forward` left it, or from `table_of`.
        eps: Added to the variance.
        given: Whether the moments were given.
    """
    x = _dense(parts.x)
    dx, dr = _empty_like(x), None if parts.residual is None else _empty_like(x)
    scale_and_shift = found.gradients(
        _array(x),
        None if parts.residual is None else _array(_laid_out_as(x, parts.residual)),
        _array(_laid_out_as(x, dy)),
        _array(dx),
        None if dr is None else _array(dr),
        table,
        eps,
        given,
        torch.get_num_threads(),
    )
    d_weight, d_bias = map(_as, scale_and_shift, (parts.weight, parts.bias))
    dr = None if dr is None else _restored(parts.x, x, dr)
    return Parts(_restored(parts.x, x, dx), d_weight, d_bias, dr)


def table_of(parts: Parts, moments: Tensor) -> kernels.Table:
    """Return the table that a forward pass with these moments would have left."""
    table = kernels.new_table(parts.x.shape[1], _vector(parts.weight), _vector(parts.bias))
    kernels.moments_in(table)[:] = moments.numpy()
    return table


def _as(line: Array, vector: Tensor | None) -> Tensor | None:
    """Return a line of float64 numbers as a tensor of its own, in the dtype of a vector."""
    if vector is None:
        return None
    if vector.dtype == torch.float32:
        return torch.from_numpy(line.astype(np.float32))  # in a third of the time
    return torch.from_numpy(line).to(vector.dtype, copy=True)


def _vector(values: Tensor | None) -> Array | None:
    if values is None:
        return None
    values = _plain(values)
    array: Array = (values if values.dtype in _EXACT else values.double()).numpy()
    return array


def _in_rows(x: Tensor) -> bool:
    """Tell whether the channels of one value lie side by side."""
    return x.dim() == 2 or x.shape[2:].numel() == 1 or (not _is_planes(x) and x.movedim(1, -1).is_contiguous())


def _is_planes(x: Tensor) -> bool:
    return x.is_contiguous() and x.shape[2:].numel() > 1


def _plain(x: Tensor) -> Tensor:
    return x.detach().resolve_neg() if x.is_neg() else x.detach()


def _dense(x: Tensor) -> Tensor:
    x = _plain(x)
    return x if x.is_contiguous() or x.movedim(1, -1).is_contiguous() else x.contiguous()


def _restored(given: Tensor, dense: Tensor, out: Tensor) -> Tensor:
    """Return an output with the strides that torch gives to one like the input, which was copied to be dense."""
    if given.stride() == dense.stride():
        return out
    like = torch.empty_like(given)
    return out if like.stride() == out.stride() else like.copy_(out)


def _laid_out_as(x: Tensor, other: Tensor) -> Tensor:
    """Return the other tensor in the type and with the strides of the batch."""
    other = _plain(other)
    if other.dtype == x.dtype and other.stride() == x.stride():
        return other
    return torch.empty_like(x).copy_(other)


def _array(x: Tensor) -> Array:
    """Return the memory of a dense tensor as planes or as rows."""
    if x.dtype == torch.bfloat16:
        x = x.view(torch.uint16)
    if x.dim() > 2:
        x = x.flatten(2) if _is_planes(x) else x.movedim(1, -1).reshape(-1, x.shape[1])
    array: Array = x.numpy()
    return array


def _empty_like(x: Tensor) -> Tensor:
    """Return memory to write to. Large memory is new, and the system fills it in large pages if it is asked to.

    Small pages take longer than all else: 18 ms for 51 MB, which are written in 2 where the pages are there, and in 6
    where they are large.
    """
    y = torch.empty_like(x)
    size = y.numel() * y.element_size()
    if size >= _FRESH_BYTES and (advise := _advise()) is not None:
        start, stop = -(-y.data_ptr() // _HUGE_PAGE), (y.data_ptr() + size) // _HUGE_PAGE
        if start < stop:
            advise(start * _HUGE_PAGE, (stop - start) * _HUGE_PAGE, _MADV_HUGEPAGE)
    return y


@cache
def _advise() -> Any:
    """Return Linux's `madvise`. It is advice: what it answers makes no difference."""
    if sys.platform != "linux":
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise
