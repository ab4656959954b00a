"""Multiplying many tensors by one ratio, also where float32 cannot hold the ratio."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from evenflow.clip.gradients import values_to_write

_STEP_EXPONENT = 120
"""Powers of two that float32 and its products still hold with all their digits."""


def scale_down_(tensors: Sequence[Tensor], limit: float, total: float, foreach: bool | None) -> None:
    """Multiply all tensors by `limit / total` in place, if `total` is above `limit` or NaN.

    Args:
        tensors: What to scale, dense or sparse.
        limit: The norm to reach.
        total: The norm now.
        foreach: False goes tensor by tensor, True and None use torch's foreach kernels.
    """
    if total <= limit:
        return
    values = [values_to_write(tensor) for tensor in tensors]
    for factor in _factors(limit, total):
        if foreach is False:
            for value in values:
                value.mul_(factor)
        else:
            torch._foreach_mul_(values, factor)


def _factors(limit: float, total: float) -> list[float]:
    """Split `limit / total` into factors that float32 holds with all its digits.

    Examples:
        >>> _factors(1.0, 4.0)
        [0.25]
        >>> len(_factors(1.0, 1e40))
        2
    """
    if not math.isfinite(total):
        return [limit / total]
    limit_mantissa, limit_exponent = math.frexp(limit)
    total_mantissa, total_exponent = math.frexp(total)
    steps, exponent = divmod(limit_exponent - total_exponent, -_STEP_EXPONENT)
    return [2.0**-_STEP_EXPONENT] * steps + [math.ldexp(limit_mantissa / total_mantissa, exponent)]
