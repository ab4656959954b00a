"""Rows of draws that lie apart in a stream: what one process holds of a tensor that is spread over several."""

from collections.abc import Callable
from math import prod

import numpy as np
from numpy.typing import NDArray

from evenflow import checks
from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.random.transforms import Floats

Starts = NDArray[np.int64]

# Rows of at least this many draws are drawn one by one, shorter ones so many at a time that they stay in the cache.
_LONG = 2**13
_CHUNK = 2**16


def fill_rows(table: Floats, starts: Starts, fill: Callable[..., object]) -> None:
    """Fill each row of a table with the elements of a stream from its own start on.

    Args:
        table: What to fill, C-contiguous.
        starts: Index of each row's first element.
        fill: `fill(out, start)` draws one row from a start on, or a table of whole blocks from an array of starts.
    """
    length = table.shape[1]
    if length >= _LONG:
        for row, start in zip(table, starts.tolist(), strict=True):
            fill(row, start)
        return
    touched = -(-(length + 3) // 4) * 4
    rows = max(1, _CHUNK // touched)
    for done in range(0, len(table), rows):
        part, first = table[done : done + rows], starts[done : done + rows]
        skipped = first % 4
        if length % 4 == 0 and not skipped.any():
            fill(part, first)
        else:
            whole = np.empty((len(first), touched), dtype=np.float32)
            fill(whole, first - skipped)
            part[:] = _cut(whole, skipped, length)


def _cut(whole: Floats, skipped: Starts, length: int) -> Floats:
    """Leave out the first draws of each row, so many as its start is past the beginning of a block."""
    if (skipped == skipped[0]).all():
        return whole[:, skipped[0] :][:, :length]
    return np.take_along_axis(whole, skipped[:, None] + np.arange(length), axis=1)


def checked_starts(starts: NDArray[np.generic], sizes: tuple[int, ...]) -> Starts:
    """Return the starts of rows if there is one for each entry of the first dimension.

    Raises:
        ParameterTypeError: They are no whole numbers.
        ParameterValueError: Their number or one of them is wrong.

    Examples:
        >>> checked_starts(np.array([0, 8]), (3, 4))
        Traceback (most recent call last):
        ...
        evenflow.errors.ParameterValueError: start must be one index, or an array of one for each of the 3 rows of the
        draws; got shape (2,)
    """
    if not np.issubdtype(starts.dtype, np.signedinteger):
        raise ParameterTypeError(f"start must be an integer, or an array of signed integers; got dtype {starts.dtype}")
    rows = sizes[0] if sizes else 0
    if starts.shape != (rows,):
        raise ParameterValueError(
            f"start must be one index, or an array of one for each of the {rows} rows of the draws; "
            f"got shape {starts.shape}"
        )
    last = 2**63 - prod(sizes[1:]) - 1
    for start in (starts.min(), starts.max()) if rows else ():
        checks.integer("start", int(start), low=0, high=last)
    return starts.astype(np.int64)
