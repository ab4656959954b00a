"""The numbers of a dtype inside an interval."""

import math
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from evenflow import checks
from evenflow.errors import ParameterValueError


def ordered(low_name: str, low: object, high_name: str, high: object, *, infinite: bool) -> tuple[float, float]:
    """Return the two ends of an interval.

    Raises:
        ParameterTypeError: One is no number.
        ParameterValueError: One is NaN, or infinite and not allowed to be; or they are in the wrong order.

    Examples:
        >>> ordered("a", 2, "b", 1, infinite=False)
        Traceback (most recent call last):
        ...
        evenflow.errors.ParameterValueError: a must not be above b; got a=2, b=1: swap them
    """
    bottom = checks.real(low_name, low, infinite=infinite)
    top = checks.real(high_name, high, infinite=infinite)
    if bottom > top:
        raise ParameterValueError(
            f"{low_name} must not be above {high_name}; got {low_name}={low!r}, {high_name}={high!r}: swap them"
        )
    return bottom, top


def inside(low: float, high: float, dtype: torch.dtype, *, below_high: bool = False) -> tuple[float, float]:
    """Return the smallest and the largest finite number of `dtype` in [low, high]; without one, the nearest.

    Args:
        low: Lower end.
        high: Upper end.
        dtype: A floating-point type.
        below_high: Whether the upper end itself is excluded.

    Examples:
        >>> inside(0.3, 0.9, torch.bfloat16)
        (0.30078125, 0.8984375)
        >>> inside(0.0, 1.0, torch.float16, below_high=True)
        (0.0, 0.99951171875)
    """
    limits = torch.finfo(dtype)
    nearest, top = (_nearest(min(max(end, limits.min), limits.max), dtype) for end in (low, high))
    bottom = _above(nearest, limits) if nearest < low else nearest
    if top > high or (below_high and top == high):
        top = -_above(-top, limits)
    return (bottom, top) if bottom <= top else (nearest, nearest)


def _nearest(value: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(value, dtype=dtype, device="cpu").item())


def _above(value: float, limits: torch.finfo) -> float:
    """Return the next larger number of a binary format; torch's `nextafter` does not know the half types."""
    smallest = limits.smallest_normal * limits.eps
    if value == 0:
        return smallest
    mantissa, exponent = math.frexp(value)
    # Below a power of two in magnitude, the numbers lie twice as close.
    binade = exponent - 2 if mantissa == -0.5 else exponent - 1
    return value + max(math.ldexp(limits.eps, binade), smallest)


# Points of the integrals; and a drop of the density by exp(-60), beyond which it adds nothing to any moment.
_POINTS = 200
_NEGLIGIBLE = 60.0


def truncated_spread(mean: float, std: float, low: float, high: float) -> float:
    """Return the standard deviation of a normal distribution confined to [low, high], by quadrature.

    Examples:
        >>> round(truncated_spread(0.0, 1.0, -2.0, 2.0), 9)
        0.879625661
    """
    start, end = (low - mean) / std, (high - mean) / std
    peak = min(max(0.0, start), end)
    # The density has fallen that far where (z^2 - peak^2) / 2 is 60, on the side that leads away from the mean.
    reach = math.sqrt(peak * peak + 2 * _NEGLIGIBLE)
    start, end = max(start, -reach), min(end, reach)
    points, weights = _legendre()
    z = (end - start) / 2 * points + (end + start) / 2
    density = weights * np.exp((peak - z) * (peak + z) / 2)
    offsets = z - z.mean()
    share = density / density.sum()
    centre = float((share * offsets).sum())
    return std * math.sqrt(float((share * (offsets - centre) ** 2).sum()))


def parent_std(mean: float, std: float, low: float, high: float) -> float:
    """Return the standard deviation that a normal distribution has to have so that, confined, it has `std`.

    Raises:
        ParameterValueError: No normal distribution has that much inside the interval: the flat one has the most.

    Examples:
        >>> round(parent_std(0.0, 1.0, -2.0, 2.0), 3)
        1.378
    """
    if std == 0:
        return 0.0
    most = (high - low) / math.sqrt(12)
    if not std < most * (1 - 1e-6):
        raise ParameterValueError(
            f"std of the result must be below {most:g}, which a flat distribution on [{low:g}, {high:g}] has; "
            f"got {std:g}"
        )
    below, above = 0.0, std
    while truncated_spread(mean, above, low, high) < std:
        below, above = above, 2 * above
    for _ in range(60):
        middle = (below + above) / 2
        if truncated_spread(mean, middle, low, high) < std:
            below = middle
        else:
            above = middle
    return above


@cache
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points and weights of Gauss and Legendre on [-1, 1]."""
    points, weights = np.polynomial.legendre.leggauss(_POINTS)
    return points, weights
