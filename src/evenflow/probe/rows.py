"""How many rows of a weight, or of its gradient, are different: equal units learn the same feature for ever."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from evenflow.probe.moments import reals
from evenflow.probe.sums import BLOCK

# Sums of some thousand products, in another order, differ by so many units of rounding of float32.
SUMMATION = 64

# Far above the rounding of a float64 projection, far below the distance of rows that differ.
CLOSE = 1e-12

# So many columns tell most rows apart.
GLANCE = 64


def distinct_rows(matrix: Tensor) -> int:
    """Number of different rows (dimension 0); NaN and infinity count as 0."""
    return _distinct(matrix, 0.0)


def distinct_up_to_rounding(matrix: Tensor) -> int:
    """Number of rows (dimension 0) of a gradient that differ by more than rounding.

    Equal units get gradients that are equal up to the order of summation: rows count as one when no element differs by
    more than 8e-6 of the largest, or by the rounding of a half type.
    """
    return _distinct(matrix, _rounding(matrix.dtype))


def _rounding(dtype: torch.dtype) -> float:
    """Half types are summed in float32, and rounded once."""
    own = torch.finfo(dtype).eps
    return 2 * own + SUMMATION * min(own, torch.finfo(torch.float32).eps)


def _distinct(matrix: Tensor, tolerance: float) -> int:
    """Tell most rows apart by a few columns, and compare the others in full."""
    if matrix.numel() == 0:
        return min(1, len(matrix))
    rows = reals(matrix).reshape(len(matrix), -1)
    pairs = _neighbours(torch.nan_to_num(rows[:, :GLANCE], 0.0, 0.0, 0.0), tolerance)
    alike = rows[pairs.unique()]
    return len(rows) - len(alike) + (_distinct_in_full(alike, tolerance) if len(alike) else 0)


def _distinct_in_full(rows: Tensor, tolerance: float) -> int:
    largest = _largest(rows)
    if not math.isfinite(largest):
        rows = torch.nan_to_num(rows, 0.0, 0.0, 0.0)
        largest = _largest(rows)
    if largest == 0:
        return 1
    pairs = _blocks(_neighbours(rows, tolerance), rows.shape[1])
    return len(rows) - sum(_count_equal(rows, some, tolerance * largest) for some in pairs)


def _largest(rows: Tensor) -> float:
    low, high = torch.aminmax(rows)
    return max(-float(low), float(high))


def _neighbours(rows: Tensor, tolerance: float) -> Tensor:
    """Pairs of rows that lie close and side by side in their order along a fixed direction."""
    places = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64, device=rows.device)
    direction = torch.cos(places**1.5)
    along, order = torch.cat([block.double() @ direction for block in _blocks(rows, rows.shape[1])]).sort()
    close = along.diff() <= max(CLOSE, tolerance) * along.abs().amax()
    return torch.stack((order[:-1][close], order[1:][close]), dim=1)


def _count_equal(rows: Tensor, pairs: Tensor, limit: float) -> int:
    apart = (rows[pairs[:, 0]] - rows[pairs[:, 1]]).abs().amax(dim=1)
    return int((apart <= limit).sum())


def _blocks(tensor: Tensor, width: int) -> Iterator[Tensor]:
    yield from tensor.split(max(1, BLOCK // width))
