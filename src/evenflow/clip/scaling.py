"""Multiplying many tensors by one ratio, also where float32 cannot hold the ratio."""

import math

import torch

from evenflow.clip.gradients import Gradients, values_to_write
from evenflow.clip.memory import blocks

_STEP_EXPONENT = 120
"""Powers of two that float32 and its products still hold with all their digits."""


def scale_down_(gradients: Gradients, limit: float, total: float, foreach: bool | None) -> None:
    """Multiply all gradients by `limit / total` in place, if `total` is above `limit` or NaN.

    Args:
        gradients: What to scale, dense or sparse.
        limit: The norm to reach.
        total: The norm now.
        foreach: One compiled loop goes over many or large tensors on a CPU. Over the others go torch's foreach kernels,
            or with False one call for each.
    """
    if total <= limit or not gradients.here:
        return
    factors = _factors(limit, total)
    alike, rest = blocks(gradients, complex_too=True)
    if alike:
        torch.autograd.graph.increment_version([gradients.here[i] for block in alike for i in block.places])
    for block in alike:
        for factor in factors:
            block.scale_(factor)
    values = [values_to_write(gradients.here[place]) for place in rest]
    for factor in factors if values else ():
        if foreach is False:
            for value in values:
                value.mul_(factor)
        else:
            torch._foreach_mul_(values, factor)
    mark_written(gradients)


def mark_written(gradients: Gradients) -> None:
    """Let autograd hear of a write to the part of a spread tensor that is here: it counts the whole apart."""
    if gradients.sharded:
        for tensor, local in zip(gradients.tensors, gradients.here, strict=True):
            if tensor is not local:
                torch.autograd.graph.increment_version(tensor)


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
