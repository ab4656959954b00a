"""Moments of a tensor, in two reads of it, safe from overflow and from NaN."""

import math

import torch
from torch import Tensor

from evenflow.probe.records import Histogram, Moments

BINS = 40
SAMPLED = 4096
EMPTY = 0.0


def moments(values: Tensor, *, histogram: bool = False) -> Moments:
    """Moments of the finite values of a tensor whose dimension 0 is the sample.

    The values are divided by their largest magnitude first when their squares would leave the range of float32.

    Args:
        values: A real or complex tensor of any shape; complex values are taken as pairs of reals.
        histogram: Whether to count the values, or an even subsample of a large tensor, in 40 bins.
    """
    x = values.detach()
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    if x.dtype not in (torch.float32, torch.float64):
        x = x.float()
    shape = tuple(values.shape)
    nonfinite = 0
    if x.numel() == 0:
        return Moments(shape, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, None, EMPTY, 0)
    low, high = (bound.item() for bound in torch.aminmax(x))
    if not (math.isfinite(low) and math.isfinite(high)):
        finite = torch.isfinite(x)
        nonfinite = int(x.numel() - finite.sum().item())
        if nonfinite == x.numel():
            return Moments(shape, math.nan, math.nan, math.nan, math.nan, math.nan, None, math.nan, nonfinite)
        chosen = x[finite]
        low, high = chosen.min().item(), chosen.max().item()
        mean, std, spread = _flat(chosen)
        counted = chosen
    else:
        mean, std, spread = _by_sample(x)
        counted = x
    rms = math.hypot(mean, std)
    units = x.numel() / max(1, shape[0] if shape else 1)
    bars = _histogram(counted, low, high) if histogram else None
    return Moments(shape, mean, std, rms, low, high, spread, rms * math.sqrt(units), nonfinite, bars)


def _scale(x: Tensor) -> float:
    """A power of two that brings the squares of `x` into range; 1 where they are."""
    largest = float(torch.linalg.vector_norm(x, ord=math.inf))
    safe = 1e-15 < largest < 1e15 or largest == 0
    return 1.0 if safe else 2.0 ** max(-1000, min(1000, math.frexp(largest)[1]))


def _by_sample(x: Tensor) -> tuple[float, float, float | None]:
    """Mean, standard deviation, and standard deviation across dimension 0 (root mean square over the rest)."""
    if x.dim() == 0 or x.shape[0] < 2:
        return (*_flat(x)[:2], None)
    scale = _scale(x)
    x = x if scale == 1.0 else (x.double() / scale)
    variance, mean = torch.var_mean(x, dim=0, correction=0)
    within = float(variance.mean(dtype=torch.float64))
    between, centre = torch.var_mean(mean.double(), correction=0)
    return float(centre) * scale, math.sqrt(within + float(between)) * scale, math.sqrt(within) * scale


def _flat(x: Tensor) -> tuple[float, float, None]:
    scale = _scale(x)
    x = x if scale == 1.0 else (x.double() / scale)
    variance, mean = torch.var_mean(x, correction=0)
    return float(mean) * scale, math.sqrt(float(variance)) * scale, None


def _histogram(x: Tensor, low: float, high: float) -> Histogram:
    flat = x.reshape(-1)
    flat = flat[:: max(1, flat.numel() // SAMPLED)].double()
    width = high - low
    if width == 0 or not math.isfinite(width):
        return Histogram(low, high, (flat.numel(),))
    position = ((flat - low) / width * BINS).long().clamp_(0, BINS - 1)
    return Histogram(low, high, tuple(torch.bincount(position, minlength=BINS).tolist()))
