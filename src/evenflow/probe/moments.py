"""Moments of a tensor, safe from overflow, underflow and NaN."""

import math

import torch
from torch import Tensor

from evenflow.probe.records import Histogram, Moments
from evenflow.probe.sums import about_mean, square_sum

BINS = 40
SAMPLED = 4096

# Between these, squares of float32 values and of their differences are neither infinite nor subnormal.
SMALL, LARGE = 1e-8, 1e15


def moments(values: Tensor, *, histogram: bool = False) -> Moments:
    """Moments of the finite values of a tensor whose dimension 0 is the sample.

    Values outside [1e-8, 1e15] are scaled by a power of two first. An empty tensor has moments of zero; one without any
    finite value has moments of NaN.

    Args:
        values: A dense tensor of any dtype and shape; complex values are taken as pairs of reals.
        histogram: Whether to count the values, or an even subsample of a large tensor, in 40 bins.
    """
    x = reals(values)
    shape = tuple(values.shape)
    if x.numel() == 0:
        return Moments(shape, 0.0, 0.0, 0.0, 0.0, 0.0, None, 0.0, 0)
    units = x.numel() / (shape[0] if shape else 1)
    finite, low, high = _finite(x)
    nonfinite = x.numel() - finite.numel()
    if finite.numel() == 0:
        return Moments(shape, math.nan, math.nan, math.nan, math.nan, math.nan, None, math.nan, nonfinite)
    if nonfinite == 0 and shape and shape[0] > 1:
        finite = finite.reshape(shape[0], -1)
    mean, std, spread = _scaled_moments(finite, max(-low, high))
    rms = math.hypot(mean, std)
    bars = _histogram(finite, low, high) if histogram else None
    return Moments(shape, mean, std, rms, low, high, spread, rms * math.sqrt(units), nonfinite, bars)


def size(values: Tensor) -> tuple[float, float, int]:
    """Root mean square and Euclidean norm of the finite values, and the number of others. Reads most tensors once."""
    x = reals(values)
    rms = math.sqrt(square_sum(x) / max(1, x.numel()))
    if SMALL < rms < LARGE:
        return rms, rms * math.sqrt(x.numel()), 0
    exact = moments(values)
    return exact.rms, exact.rms * math.sqrt(x.numel() - exact.nonfinite), exact.nonfinite


def reals(values: Tensor) -> Tensor:
    """The same values in float32 or float64, outside the graph, complex ones as pairs."""
    x = values.detach()
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def _finite(x: Tensor) -> tuple[Tensor, float, float]:
    """The tensor itself when all of it is finite, else its finite values in a row; and their range."""
    low, high = _range(x)
    if math.isfinite(low) and math.isfinite(high):
        return x.reshape(-1), low, high
    finite = x[torch.isfinite(x)]
    return (finite, *_range(finite)) if finite.numel() else (finite, math.nan, math.nan)


def _range(x: Tensor) -> tuple[float, float]:
    low, high = torch.aminmax(x)
    return float(low), float(high)


def _scaled_moments(x: Tensor, largest: float) -> tuple[float, float, float | None]:
    """Mean, standard deviation, and that across dimension 0 if there are two, computed where squares are in range."""
    scale = _scale(largest, x.dtype)
    x = x if scale == 1.0 else x * (1 / scale)
    if x.dim() == 1:
        mean, std = _flat_moments(x)
        return mean * scale, std * scale, None
    mean, std, spread = _row_moments(x)
    return mean * scale, std * scale, spread * scale


def _scale(largest: float, dtype: torch.dtype) -> float:
    """A power of two that brings values up to `largest` into range; 1 where they are."""
    if SMALL < largest < LARGE or largest == 0:
        return 1.0
    limit = 120 if dtype == torch.float32 else 1000
    return 2.0 ** max(-limit, min(limit, math.frexp(largest)[1]))


def _flat_moments(x: Tensor) -> tuple[float, float]:
    centre, rest, squares = about_mean(x)
    return float(centre) + float(rest), math.sqrt(squares / len(x))


def _row_moments(x: Tensor) -> tuple[float, float, float]:
    """The variance is that within the units (columns) plus that between their means."""
    centre, rest, squares = about_mean(x)
    middle = float(centre.mean())
    offset, between = _flat_moments((centre - middle) + rest)
    within = math.sqrt(squares / x.numel())
    return middle + offset, math.hypot(within, between), within


def _histogram(x: Tensor, low: float, high: float) -> Histogram:
    flat = x.reshape(-1)
    flat = flat[:: _step(flat.numel())].double()
    width = high - low
    if width == 0 or not math.isfinite(width):
        return Histogram(low, high, (flat.numel(),))
    position = ((flat - low) / width * BINS).long().clamp_(0, BINS - 1)
    return Histogram(low, high, tuple(torch.bincount(position, minlength=BINS).tolist()))


def _step(count: int) -> int:
    """A step that takes some thousands of values, and shares no factor with the shape, so that it meets every unit."""
    step = max(1, count // SAMPLED)
    while math.gcd(step, count) > 1:
        step += 1
    return step
