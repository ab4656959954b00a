"""From tensors to the memory that the kernels go through, and back."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, NoReturn

import torch
from torch import Tensor

from evenflow.errors import MetaTensorError
from evenflow.kernels import batch_norm as kernels
from evenflow.kernels.call import Call
from evenflow.norm.activations import ACTIVATIONS
from evenflow.norm.formula import Parts
from evenflow.norm.reuse import empty_like

_NUMBERS = {name: number for number, name in enumerate((None, *ACTIVATIONS))}
EXACT = (torch.float32, torch.float64)
"""What small batches are computed in by torch's kernel."""
_ELEMENTS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "uint16"}


class Running(NamedTuple):
    """Running statistics that a kernel moves, without gaps and in the type that it computes in.

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
        shape: That of the batches.
        stride: Theirs.
        dtype: Theirs.
        is_dense: Whether the kernel goes through their memory as it is.
    """

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    is_dense: bool
    forward: kernels.Work
    forward_given: kernels.Work
    backward: kernels.Work
    backward_given: kernels.Work

    def fits(self, parts: Parts) -> bool:
        """Tell whether what was normalised is of this kind still: hooks bring others back, data may be exchanged."""
        x, weight, bias, residual = parts
        return (
            x.is_cpu
            and x.shape == self.shape
            and x.stride() == self.stride
            and x.dtype is self.dtype
            and _are_of(self.shape[1], weight, bias)
            and (residual is None or (residual.is_cpu and residual.shape == self.shape))
        )


def kernel(parts: Parts, activation: str | None, *, here: bool = False) -> Kernel | None:
    """Return what normalises a batch, or None: it is small, of another type, or there is no compiler.

    What does not fit the batch, or is elsewhere, has no kernel either: torch will say what is wrong with it.
    """
    x, weight, bias, residual = parts
    if not x.is_cpu or x.numel() < kernels.WORTH_LOADING:
        return None
    if not _are_of(x.shape[1], weight, bias) or (
        residual is not None and not (residual.is_cpu and residual.shape == x.shape)
    ):
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
    y = dense if here else empty_like(dense)
    used = torch.empty((2, x.shape[1]), dtype=torch.float64, device=x.device)
    work = found.forward
    if moments is not None:
        work = found.forward_given
        used.copy_(moments)
    call = work.take()
    kept = _fill(call, dense, weight, bias, residual, eps)
    call.y, call.moments = y.data_ptr() or _nowhere(y), used.data_ptr() or _nowhere(used)
    call.running_mean = call.batches = 0
    if running is not None:
        mean, variance, batches, momentum = running
        call.running_mean = mean.data_ptr() or _nowhere(mean)
        call.running_var = variance.data_ptr() or _nowhere(variance)
        call.momentum = float(momentum)
        call.batches = 0 if batches is None else batches.data_ptr() or _nowhere(batches)
        call.correction = call.count / (call.count - 1)
    call.kept = (*kept, dense, y, used, running)
    work.do(call)
    return (y if found.is_dense else _restored(x, dense, y)), used


def evaluate(found: Kernel, parts: Parts, running: Running, eps: float) -> Tensor:
    """Normalise by running statistics, which stay what they are; see `forward`."""
    x, weight, bias, residual = parts
    dense = _dense(x, found)
    y = empty_like(dense)
    call = found.forward_given.take()
    kept = _fill(call, dense, weight, bias, residual, eps)
    call.y, call.moments = y.data_ptr() or _nowhere(y), call.sums
    call.running_mean = running.mean.data_ptr() or _nowhere(running.mean)
    call.running_var = running.variance.data_ptr() or _nowhere(running.variance)
    call.batches, call.kept = 0, (*kept, dense, y, running)
    found.forward_given.do(call)
    return y if found.is_dense else _restored(x, dense, y)


def backward(found: Kernel, dy: Tensor, parts: Parts, moments: Tensor, eps: float, *, given: bool) -> Parts:
    """Carry a gradient back by a kernel.

    Args:
        found: The kernel.
        dy: Gradient of the output.
        parts: What was normalised.
        moments: With which: mean and biased variance, (2, channel) in float64.
        eps: Added to the variance.
        given: Whether they were given.
    """
    x, weight, bias, residual = parts
    dense = _dense(x, found)
    dx, dr = empty_like(dense), None if residual is None else empty_like(dense)
    dy = _laid_out_as(dense, dy)
    work = found.backward_given if given else found.backward
    call = work.take()
    kept = _fill(call, dense, weight, bias, residual, eps)
    d_weight, d_bias = torch.empty_like(kept[0]), torch.empty_like(kept[1])
    moments = _moments(moments, x.shape[1])
    call.dy, call.dx = dy.data_ptr() or _nowhere(dy), dx.data_ptr() or _nowhere(dx)
    call.moments = moments.data_ptr() or _nowhere(moments)
    call.dr = call.dx if dr is None else dr.data_ptr() or _nowhere(dr)
    call.d_weight = d_weight.data_ptr() or _nowhere(d_weight)
    call.d_bias = d_bias.data_ptr() or _nowhere(d_bias)
    call.kept = (*kept, dense, dy, dx, dr, moments, d_weight, d_bias)
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
    return Kernel(shape, stride, dtype, is_dense, forward, forward_given, backward, backward_given)


def _fill(
    call: Call, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tell a call of a dense batch and what goes with it; return the tensors whose memory that is."""
    call.x, call.eps = x.data_ptr() or _nowhere(x), float(eps)
    call.r = call.x
    if residual is not None:
        residual = _laid_out_as(x, residual)
        call.r = residual.data_ptr() or _nowhere(residual)
    channels, kind = x.shape[1], torch.float64 if x.dtype is torch.float64 else torch.float32
    weight = _constant(channels, kind, 1.0) if weight is None else _vector(weight, kind)
    bias = _constant(channels, kind, 0.0) if bias is None else _vector(bias, kind)
    call.weight, call.bias = weight.data_ptr() or _nowhere(weight), bias.data_ptr() or _nowhere(bias)
    return weight, bias, residual


def _nowhere(tensor: Tensor) -> NoReturn:
    """Refuse a tensor whose address is 0: a kernel asks no more.

    Raises:
        MetaTensorError: In any case.
    """
    raise MetaTensorError(
        f"a {type(tensor).__name__} of shape {tuple(tensor.shape)} has no memory to compute with: it stands for "
        "another tensor, or its memory was freed"
    )


def _moments(moments: Tensor, channels: int) -> Tensor:
    """Return moments as the kernels read them. A hook may have kept them in another way."""
    if moments.dtype is torch.float64 and moments.is_contiguous() and moments.shape == (2, channels) and moments.is_cpu:
        return moments
    return torch.empty((2, channels), dtype=torch.float64, device="cpu").copy_(moments)


def _are_of(channels: int, weight: Tensor | None, bias: Tensor | None) -> bool:
    """Tell whether parameters have one number a channel, where a kernel can read them."""
    if weight is not None and not (weight.is_cpu and weight.numel() == channels):
        return False
    return bias is None or (bias.is_cpu and bias.numel() == channels)


def _as(gradient: Tensor, vector: Tensor | None) -> Tensor | None:
    if vector is None or gradient.dtype is vector.dtype:
        return None if vector is None else gradient
    return gradient.to(vector.dtype)


def _vector(values: Tensor, kind: torch.dtype) -> Tensor:
    """Return one number a channel as the kernels read it: without gaps, in the type that is computed in."""
    values = _plain(values)
    return (values if values.dtype is kind else values.detach().to(kind)).contiguous()


@lru_cache(maxsize=256)
def _constant(channels: int, kind: torch.dtype, value: float) -> Tensor:
    """Return what stands for a parameter that is not there. Nobody writes to it."""
    return torch.full((channels,), value, dtype=kind, device="cpu")


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
