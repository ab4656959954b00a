"""From tensors to the arrays that the kernels go through, and back."""

import ctypes
import sys
from functools import cache
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from evenflow.kernels import batch_norm as kernels
from evenflow.norm.activations import ACTIVATIONS
from evenflow.norm.formula import Parts

Array = NDArray[Any]

_NUMBERS = {name: number for number, name in enumerate((None, *ACTIVATIONS))}
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
) -> tuple[Tensor, Tensor]:
    """Normalise by a kernel; see `formula.normalized`. A dense batch is overwritten if the output goes `here`."""
    x = _dense(parts.x)
    y = x if here else _empty_like(x)
    array = _array(x)
    table = _table(array, parts, moments)
    found.normalize(
        array, _beside(x, parts.residual), _array(y), table, eps, moments is not None, torch.get_num_threads()
    )
    return _restored(parts.x, x, y), torch.from_numpy(kernels.moments_in(table))


def backward(found: kernels.Normalizer, dy: Tensor, parts: Parts, moments: Tensor, eps: float, *, given: bool) -> Parts:
    """Carry a gradient back by a kernel.

    Args:
        found: The kernel.
        dy: Gradient of the output.
        parts: What was normalised.
        moments: What the forward pass returned.
        eps: Added to the variance.
        given: Whether the moments were given.
    """
    x = _dense(parts.x)
    dx, dr = _empty_like(x), None if parts.residual is None else _empty_like(x)
    array = _array(x)
    scale_and_shift = found.gradients(
        array,
        _beside(x, parts.residual),
        _array(_laid_out_as(x, dy)),
        _array(dx),
        None if dr is None else _array(dr),
        _table(array, parts, moments),
        eps,
        given,
        torch.get_num_threads(),
    )
    d_weight, d_bias = (
        None if vector is None else d.to(vector.dtype)
        for vector, d in zip((parts.weight, parts.bias), torch.from_numpy(scale_and_shift), strict=True)
    )
    dr = None if dr is None else _restored(parts.x, x, dr)
    return Parts(_restored(parts.x, x, dx), d_weight, d_bias, dr)


def _beside(x: Tensor, residual: Tensor | None) -> Array | None:
    return None if residual is None else _array(_laid_out_as(x, residual))


def _table(array: Array, parts: Parts, moments: Tensor | None) -> Array:
    table = kernels.new_table(array, _vector(parts.weight), _vector(parts.bias))
    if moments is not None:
        kernels.moments_in(table)[:] = moments.numpy()
    return table


def _vector(values: Tensor | None) -> Array | None:
    if values is None:
        return None
    return (
        values.detach().resolve_neg() if values.dtype in (torch.float32, torch.float64) else values.detach().double()
    ).numpy()


def _in_rows(x: Tensor) -> bool:
    """Tell whether the channels of one value lie side by side."""
    return x.dim() == 2 or x.shape[2:].numel() == 1 or (not _is_planes(x) and x.movedim(1, -1).is_contiguous())


def _is_planes(x: Tensor) -> bool:
    return x.is_contiguous() and x.shape[2:].numel() > 1


def _dense(x: Tensor) -> Tensor:
    x = x.detach().resolve_neg()
    return x if x.is_contiguous() or x.movedim(1, -1).is_contiguous() else x.contiguous()


def _restored(given: Tensor, dense: Tensor, out: Tensor) -> Tensor:
    """Return an output with the strides that torch gives to one like the input, which was copied to be dense."""
    if given.stride() == dense.stride():
        return out
    like = torch.empty_like(given)
    return out if like.stride() == out.stride() else like.copy_(out)


def _laid_out_as(x: Tensor, other: Tensor) -> Tensor:
    """Return the other tensor in the type and with the strides of the batch."""
    other = other.detach().resolve_neg()
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
