"""The numbers of a dtype inside an interval."""

import math

import torch

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


def inside(low: float, high: float, dtype: torch.dtype) -> tuple[float, float]:
    """Return the smallest and the largest finite number of `dtype` in [low, high]; without one, the nearest.

    Examples:
        >>> inside(0.3, 0.9, torch.bfloat16)
        (0.30078125, 0.8984375)
    """
    limits = torch.finfo(dtype)
    nearest, top = (_nearest(min(max(end, limits.min), limits.max), dtype) for end in (low, high))
    bottom = _above(nearest, limits) if nearest < low else nearest
    if top > high:
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
