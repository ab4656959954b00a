"""From tensors to the memory that the kernels go through, and back."""

import ctypes
import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evenflow.kernels import batch_norm as kernels
from evenflow.kernels.call import Call
from evenflow.norm.activations import ACTIVATIONS
from evenflow.norm.formula import Parts

_NUMBERS = {name: number for number, name in enumerate((None, *ACTIVATIONS))}
EXACT = (torch.float32, torch.float64)
"""What the kernels read numbers of a channel in."""
_ELEMENTS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "uint16"}
# Memory of at least this size comes from the system as pages that are empty, and is given back as soon as it is freed.
_FRESH_BYTES, _HUGE_PAGE, _MADV_HUGEPAGE = 2**22, 2**21, 14


class Running(NamedTuple):
    """Running statistics that a kernel moves, without gaps and in float32 or float64.

    Attributes:
        mean: The running mean.
        variance: The running variance, of the same dtype.
        batches: How many batches have moved them, int64; counted if it is there.
        momentum: Weight of the new value.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor | None
    momentum: float


@dataclass(frozen=True, slots=True)
class Kernel:
    """How batches of one kind are normalised; from `kernel`.

    Attributes:
        stride: That of the batches.
        dtype: Theirs.
        is_dense: Whether the kernel goes through their memory as it is.
        is_large: Whether memory for an output is new to the process.
    """

    stride: tuple[int, ...]
    dtype: torch.dtype
    is_dense: bool
    is_large: bool
    forward: kernels.Work
    forward_given: kernels.Work
    backward: kernels.Work
    backward_given: kernels.Work

    def fits(self, x: Tensor) -> bool:
        """Tell whether a batch of the same shape is of this kind."""
        return x.stride() == self.stride and x.dtype is self.dtype


def kernel(parts: Parts, activation: str | None, *, here: bool = False) -> Kernel | None:
    """Return what normalises a batch, or None: it is small, of another type, or there is no compiler.

    What does not fit the batch, or is elsewhere, has no kernel either: torch will say what is wrong with it.
    """
    x, weight, bias, residual = parts
    if not x.is_cpu or x.numel() < kernels.WORTH_LOADING:
        return None
    channels = x.shape[1]
    if weight is not None and not (weight.is_cpu and weight.numel() == channels):
        return None
    if bias is not None and not (bias.is_cpu and bias.numel() == channels):
        return None
    if residual is not None and not (residual.is_cpu and residual.shape == x.shape):
        return None
    return _kernel(x.shape, x.stride(), x.dtype, residual is not None, activation, here, torch.get_num_threads())


def forward(
    found: Kernel, parts: Parts, moments: Tensor | None, eps: float, *, here: bool = False,
    running: Running | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Normalise by a kernel; see `formula.normalized`. A dense batch is overwritten if the output goes `here`.

    Args:
        found: The kernel.
        parts: What is normalised.
        moments: Mean and biased variance, (2, channel) in float64; None takes those of the batch.
        eps: Added to the variance.
        here: Whether the output goes where the batch is.
        running: Statistics that the moments of the batch move.

    Returns:
        The output, and the moments.
    """
    x, weight, bias, residual = parts
    dense = _dense(x, found)
    y = dense if here else _empty(dense, found)
    used = torch.empty((2, x.shape[1]), dtype=torch.float64)
    work = found.forward
    if moments is not None:
        work = found.forward_given
        used.copy_(moments)
    call = work.take()
    # What is named here lives until the work is done.
    weight, bias, residual = _fill(call, dense, weight, bias, residual, eps)
    call.y, call.moments, call.running_bytes, call.batches = y.data_ptr(), used.data_ptr(), 0, 0
    if running is not None:
        mean, variance, batches, momentum = running
        call.running_mean, call.running_var, call.running_bytes = mean.data_ptr(), variance.data_ptr(), mean.itemsize
        call.momentum = float(momentum)
        call.batches = 0 if batches is None else batches.data_ptr()
        call.correction = call.count / (call.count - 1)
    work.do(call)
    return (y if found.is_dense else _restored(x, dense, y)), used


def backward(found: Kernel, dy: Tensor, parts: Parts, moments: Tensor, eps: float, *, given: bool) -> Parts:
    """Carry a gradient back by a kernel.

    Args:
        found: The kernel.
        dy: Gradient of the output.
        parts: What was normalised.
        moments: With which: mean and biased variance, (2, channel) in float64, without gaps.
        eps: Added to the variance.
        given: Whether they were given.
    """
    x, weight, bias, residual = parts
    dense = _dense(x, found)
    dx, dr = _empty(dense, found), None if residual is None else _empty(dense, found)
    dy = _laid_out_as(dense, dy)
    work = found.backward_given if given else found.backward
    call = work.take()
    wide_weight, wide_bias, residual = _fill(call, dense, weight, bias, residual, eps)
    d_weight, d_bias = _gradient_of(wide_weight), _gradient_of(wide_bias)
    call.dy, call.dx, call.dr = dy.data_ptr(), dx.data_ptr(), (dx if dr is None else dr).data_ptr()
    call.moments, call.d_weight, call.d_bias = moments.data_ptr(), _address(d_weight), _address(d_bias)
    work.do(call)
    if not found.is_dense:
        dx, dr = _restored(x, dense, dx), None if dr is None else _restored(x, dense, dr)
    return Parts(dx, _as(d_weight, weight), _as(d_bias, bias), dr)


@lru_cache(maxsize=256)
def _kernel(
    shape: torch.Size, stride: tuple[int, ...], dtype: torch.dtype, keep: bool, activation: str | None, here: bool,
    threads: int,
) -> Kernel | None:  # fmt: skip
    like = torch.empty_strided(shape, stride, dtype=dtype, device="meta")
    size, channels = shape.numel(), shape[1]
    if dtype not in _ELEMENTS or size == 0 or activation not in _NUMBERS:
        return None
    is_dense = _is_dense(like)
    rows = _in_rows(like if is_dense else like.contiguous())
    found = kernels.find_normalizer(_NUMBERS[activation], keep, rows, _ELEMENTS[dtype], size, here=here)
    if found is None:
        return None
    values = 1 if rows else size // (shape[0] * channels)
    sizes = (size // (channels * values), channels, values)
    works = (
        way(*sizes, given=given, threads=threads) for way in (found.forward, found.backward) for given in (False, True)
    )
    forward, forward_given, backward, backward_given = works
    is_large = size * dtype.itemsize >= _FRESH_BYTES
    return Kernel(stride, dtype, is_dense, is_large, forward, forward_given, backward, backward_given)


def _fill(
    call: Call, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, eps: float
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Tell a call of a dense batch and what goes with it; return the tensors whose memory that is."""
    call.x, call.eps = x.data_ptr(), float(eps)
    call.r = call.x
    if residual is not None:
        residual = _laid_out_as(x, residual)
        call.r = residual.data_ptr()
    call.weight_bytes = call.bias_bytes = 0
    if weight is not None:
        weight = _vector(weight)
        call.weight, call.weight_bytes = weight.data_ptr(), weight.itemsize
    if bias is not None:
        bias = _vector(bias)
        call.bias, call.bias_bytes = bias.data_ptr(), bias.itemsize
    return weight, bias, residual


def _address(vector: Tensor | None) -> int:
    return 0 if vector is None else vector.data_ptr()


def _gradient_of(vector: Tensor | None) -> Tensor | None:
    return None if vector is None else torch.empty_like(vector)


def _as(gradient: Tensor | None, vector: Tensor | None) -> Tensor | None:
    if gradient is None or vector is None or gradient.dtype is vector.dtype:
        return gradient
    return gradient.to(vector.dtype)


def _vector(values: Tensor) -> Tensor:
    """Return one number a channel as the kernels read it: without gaps, in float32 or float64."""
    values = _plain(values)
    return (values if values.dtype in EXACT else values.detach().double()).contiguous()


def _in_rows(x: Tensor) -> bool:
    """Tell whether the channels of one value lie side by side."""
    return x.dim() == 2 or x.shape[2:].numel() == 1 or (not _is_planes(x) and x.movedim(1, -1).is_contiguous())


def _is_planes(x: Tensor) -> bool:
    return x.is_contiguous() and x.shape[2:].numel() > 1


def _plain(x: Tensor) -> Tensor:
    """Return a tensor whose numbers stand in memory as they are."""
    if x.is_neg():
        return x.detach().resolve_neg()
    return x.detach().clone() if x._is_zerotensor() else x


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.movedim(1, -1).is_contiguous()


def _dense(x: Tensor, found: Kernel) -> Tensor:
    x = _plain(x)
    return x if found.is_dense else x.detach().contiguous()


def _restored(given: Tensor, dense: Tensor, out: Tensor) -> Tensor:
    """Return an output with the strides that torch gives to one like the input, which was copied to be dense."""
    if given.stride() == dense.stride():
        return out
    like = torch.empty_like(given)
    return out if like.stride() == out.stride() else like.copy_(out)


def _laid_out_as(x: Tensor, other: Tensor) -> Tensor:
    """Return the other tensor in the type and with the strides of the batch."""
    other = _plain(other)
    if other.dtype == x.dtype and other.stride() == x.stride() and other.shape == x.shape:
        return other
    return torch.empty_like(x).copy_(other.detach())


def _empty(like: Tensor, found: Kernel) -> Tensor:
    """Return memory to write to. Large memory is new, and the system fills it in large pages if it is asked to.

    Small pages take longer than all else: 18 ms for 51 MB, which are written in 2 where the pages are there, and in 6
    where they are large.
    """
    y = torch.empty_like(like)
    if found.is_large and (advise := _advise()) is not None:
        start, stop = -(-y.data_ptr() // _HUGE_PAGE), (y.data_ptr() + y.nbytes) // _HUGE_PAGE
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
