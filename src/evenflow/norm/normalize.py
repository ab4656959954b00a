r"""The normalisation itself: our kernels for large batches, torch's for small ones, where those are right.

torch's CPU kernels lose precision in two ways that a float64 reference shows:

- All of them compute $x \cdot a + b$ with $a = 1/\sigma$ and $b = -\mu/\sigma$, which cancels when
  $|\mu| \gg \sigma$.
- For (N, C) and channels-last data they add up float32 values one by one. On one thread, with standard
  deviation 1: at mean 1e6, (8192, 16) gets a variance of 960; at mean 100, three million rows get 6; at mean 0
  they are still 0.3 % off.

Batch normalisation does not change when a constant is taken from a channel, so the cure is to subtract
(nearly) the mean first, exactly for all numbers near it, and hand the kernel the well-conditioned rest.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from evenflow.norm import arrays, operators
from evenflow.norm.activations import activate
from evenflow.norm.formula import Parts
from evenflow.norm.inplace import can_be_here, normalize_here
from evenflow.norm.moments import BatchMoments
from evenflow.norm.shapes import all_but_channel, beside
from evenflow.norm.tracing import has_wrappers, is_recorded, is_watched, values_are_hidden

TOLERANCE = 2.0**-12
"""Largest error, in standard deviations, that torch's kernel may be expected to make."""


def statistics_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of the statistics of `x`: float64 for float64, float32 for all others."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def normalize_batch(
    x: Float[Tensor, "batch channel *space"],
    weight: Float[Tensor, " channel"] | None,
    bias: Float[Tensor, " channel"] | None,
    eps: float,
    *,
    activation: str | None = None,
    residual: Float[Tensor, "batch channel *space"] | None = None,
    inplace: bool = False,
) -> tuple[Float[Tensor, "batch channel *space"], BatchMoments]:
    """Normalise with the statistics of the batch.

    Args:
        x: The batch, with at least two values a channel, or none at all.
        weight: Scale of each channel.
        bias: Shift of each channel.
        eps: Added to the variance.
        activation: Applied to the output; one of `activations.ACTIVATIONS`.
        residual: Added to the normalised batch, before the activation.
        inplace: Write over the batch where it can be recovered; see `inplace`.

    Returns:
        The output, in the dtype and memory format of `x`, and the moments of the batch.
    """
    if inplace and can_be_here(Parts(x, weight, bias, residual)):
        output, used = normalize_here(Parts(x, weight, bias, None), eps, activation)
        return output, _moments(output, used)
    if _is_ours(Parts(x, weight, bias, residual), activation):
        output, used = operators.normalize(Parts(x, weight, bias, residual), None, eps, activation)
        return output, _moments(x, used)
    weight, bias = _affine(x, weight, bias)
    output, moments = _normalize_batch(x, weight, bias, eps)
    return activate(activation, output if residual is None else (output + residual).to(x.dtype)), moments


def _is_ours(parts: Parts, activation: str | None) -> bool:
    """Tell whether a kernel normalises this batch: it is on the CPU, and large, or the call is traced.

    A measurement sees torch's functions, and with them what is normalised and which activation follows.
    """
    x = parts.x
    if x.device.type != "cpu" or x.numel() == 0 or is_watched() or is_recorded() or has_wrappers(parts):
        return False
    return values_are_hidden() or arrays.kernel(parts, activation) is not None


def _moments(x: Tensor, used: Tensor) -> BatchMoments:
    count = _count(x)
    mean, variance = used
    dtype = statistics_dtype(x)
    return BatchMoments(mean.to(dtype), (variance * (count / (count - 1))).to(dtype), count)


def _normalize_batch(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, BatchMoments]:
    if x.numel() > 0 and (values_are_hidden() or is_recorded()):
        return _centred(x, weight, bias, eps)
    output, moments = _native(x, weight, bias, eps)
    if x.device.type == "cpu" and batch_error(x, moments, eps) > TOLERANCE:
        return _centred(x, weight, bias, eps)
    return output, moments


def normalize_population(
    x: Float[Tensor, "batch channel *space"],
    mean: Float[Tensor, " channel"],
    variance: Float[Tensor, " channel"],
    weight: Float[Tensor, " channel"] | None,
    bias: Float[Tensor, " channel"] | None,
    eps: float,
    *,
    activation: str | None = None,
    residual: Float[Tensor, "batch channel *space"] | None = None,
) -> Float[Tensor, "batch channel *space"]:
    """Normalise with given statistics, as at inference.

    Args:
        x: The batch.
        mean: Mean of each channel.
        variance: Variance of each channel.
        weight: Scale of each channel.
        bias: Shift of each channel.
        eps: Added to the variance.
        activation: Applied to the output; one of `activations.ACTIVATIONS`.
        residual: Added to the normalised batch, before the activation.

    Returns:
        The output, in the dtype and memory format of `x`.
    """
    if _is_ours(Parts(x, weight, bias, residual), activation):
        moments = torch.stack((mean.detach(), variance.detach())).double()
        return operators.normalize(Parts(x, weight, bias, residual), moments, eps, activation)[0]
    weight, bias = _affine(x, weight, bias)
    output = _normalize_population(x, mean, variance, weight, bias, eps)
    return activate(activation, output if residual is None else (output + residual).to(x.dtype))


def _normalize_population(
    x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    dtype = statistics_dtype(x)
    mean, variance = mean.to(dtype), variance.to(dtype)
    hidden = values_are_hidden() or is_recorded()
    if not hidden and (x.device.type != "cpu" or _offset(mean, variance, eps) * _unit(dtype) / 2 <= TOLERANCE):
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
    centred = x.to(dtype) - beside(x, mean)
    output = F.batch_norm(centred, torch.zeros_like(mean), variance, weight, bias, False, 0.0, eps)
    return output.to(x.dtype)


def _native(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, BatchMoments]:
    """Let torch do it. Buffers of zero and a momentum of 1 make it hand over the moments of the batch."""
    mean = torch.zeros(x.shape[1], dtype=statistics_dtype(x), device=x.device)
    variance = torch.zeros_like(mean)
    output = F.batch_norm(x, mean, variance, weight, bias, True, 1.0, eps)
    return output, BatchMoments(mean, variance, _count(x))


def _centred(x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, BatchMoments]:
    """Subtract the mean of each channel, lay every channel out in one piece, then let torch do it."""
    dtype, channels = statistics_dtype(x), x.shape[1]
    shift = x.detach().mean(all_but_channel(x), dtype=torch.float64).to(dtype)
    centred = (x.to(dtype) - beside(x, shift)).transpose(0, 1)
    rows = centred.reshape(1, channels, -1)
    output = F.batch_norm(rows, None, None, weight, bias, True, 0.0, eps)
    rest = rows.detach().squeeze(0)
    moments = BatchMoments(shift + rest.mean(1), rest.var(1, correction=1), _count(x))
    back = output.reshape(centred.shape).transpose(0, 1).to(x.dtype)
    return back.contiguous(memory_format=_memory_format(x)), moments


def batch_error(x: Tensor, moments: BatchMoments, eps: float) -> float:
    """Bound what torch's CPU kernel gets wrong on this batch, in standard deviations.

    Fitted to measured errors over 6e3 to 3e6 values a channel: a naive float32 sum of n values is off by
    about sqrt(n)/4 units in the mean and n/256 in the variance; the kernel for contiguous channels by half a
    unit.
    """
    unit, offset = _unit(moments.mean.dtype), _offset(moments.mean, moments.variance, eps)
    if x.stride(1) != 1:
        return offset * unit / 2
    return max(offset * math.sqrt(moments.count) / 4, moments.count / 256) * unit


def _offset(mean: Tensor, variance: Tensor, eps: float) -> float:
    """Return the largest distance of a channel's mean from zero, in standard deviations; NumPy's steps are shorter."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        offsets = np.abs(mean.detach().numpy()) / np.sqrt(variance.detach().numpy() + eps)
    return float(np.nan_to_num(offsets).max())


def _unit(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    dtype = statistics_dtype(x)
    return None if weight is None else weight.to(dtype), None if bias is None else bias.to(dtype)


def _count(x: Tensor) -> int:
    return x.numel() // x.shape[1]


def _memory_format(x: Tensor) -> torch.memory_format:
    for dim, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == dim and not x.is_contiguous() and x.is_contiguous(memory_format=layout):
            return layout
    return torch.contiguous_format
