"""Clipping parts of the gradients apart, each by its own norm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from evenflow.clip.gradients import Gradients, values_to_write
from evenflow.clip.norms import Norms, combined
from evenflow.clip.scaling import mark_written, scale_down_

_PLAIN_FACTOR = 2.0**-100
"""Below this a factor is applied in steps, which float32 can hold."""


@dataclass(frozen=True)
class Clipped:
    """What clipping by parts did.

    Attributes:
        norms: Norm of each part before.
        factors: What each part was multiplied by.
        clipped_norm: Norm of everything afterwards.
    """

    norms: Norms
    factors: NDArray[np.float64]
    clipped_norm: float


def clip_parts_(
    gradients: Gradients, sizes: Norms, parts: Sequence[int], limits: NDArray[np.float64], order: float
) -> Clipped:
    """Scale each part whose norm is above its limit down to it, in place.

    Args:
        gradients: All gradients.
        sizes: The norm of each.
        parts: The number of the part of each.
        limits: The limit of each part.
        order: Of the norms.
    """
    owner = np.asarray(parts, dtype=np.int64)
    found = by_part(sizes, owner, limits.size, order)
    over = ~(found <= limits)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = np.where(over, limits / found, 1.0)
    if limits.size == 1:
        scale_down_(gradients, float(limits[0]), float(found[0]), None)
    else:
        _scale_parts_(gradients, owner, limits, found, factors)
    with np.errstate(invalid="ignore"):
        after = np.where(over, np.where(np.isfinite(found), limits, found * factors), found)
    return Clipped(found, factors, float(combined(after, order)))


def by_part(sizes: Norms, owner: NDArray[np.int64], count: int, order: float) -> Norms:
    """Compute the norm of each part from those of the tensors in it.

    Examples:
        >>> by_part(np.array([3.0, 4.0, 7.0]), np.array([1, 1, 0]), 3, 2.0)
        array([7., 5., 0.])
    """
    largest = np.zeros(count)
    with np.errstate(invalid="ignore"):
        np.maximum.at(largest, owner, sizes)
    if math.isinf(order):
        return largest
    scale = np.where((largest > 0) & (largest < np.inf), largest, 1.0)
    with np.errstate(under="ignore", over="ignore", invalid="ignore"):
        sums = np.bincount(owner, (sizes / scale[owner]) ** order, minlength=count)
        return np.where(np.isfinite(largest), scale * sums ** (1 / order), largest)


def _scale_parts_(
    gradients: Gradients,
    owner: NDArray[np.int64],
    limits: NDArray[np.float64],
    found: Norms,
    factors: NDArray[np.float64],
) -> None:
    plain = (factors < 1) & (factors > _PLAIN_FACTOR)
    together = np.flatnonzero(plain[owner])
    if together.size:
        chosen = gradients.part(together.tolist())
        torch._foreach_mul_([values_to_write(tensor) for tensor in chosen.here], factors[owner[together]].tolist())
        mark_written(chosen)
    for part in np.flatnonzero(~plain & (factors != 1)):
        places = np.flatnonzero(owner == part).tolist()
        scale_down_(gradients.part(places), float(limits[part]), float(found[part]), None)
