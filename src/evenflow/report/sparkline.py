"""A curve in one line of text."""

import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

BARS = "▁▂▃▄▅▆▇█"
ZERO = "_"
NOT_FINITE = "!"


def sparkline(values: Sequence[float | None], width: int) -> str:
    """Draw positive values on a logarithmic scale, in at most `width` characters.

    Zero is drawn as `_`, NaN and infinity as `!`, a missing value as a blank. Of more values than characters,
    evenly spaced ones are drawn, the first and the last among them. Less than half a decade looks flat.

    Examples:
        >>> sparkline([1.0, 0.1, 0.01, 0.001, 0.0, float("nan"), None], width=10)
        '█▆▃▁_! '
    """
    chosen = thin(values, width)
    logs = [math.log10(v) for v in chosen if v is not None and math.isfinite(v) and v > 0]
    low, high = (min(logs), max(logs)) if logs else (0.0, 0.0)
    if high - low < 0.5:
        middle = (low + high) / 2
        low, high = middle - 0.25, middle + 0.25
    return "".join(_bar(value, low, high) for value in chosen)


def _bar(value: float | None, low: float, high: float) -> str:
    if value is None:
        return " "
    if not math.isfinite(value):
        return NOT_FINITE
    if value <= 0:
        return ZERO
    return BARS[round((math.log10(value) - low) / (high - low) * (len(BARS) - 1))]


def thin(values: Sequence[T], most: int) -> list[T]:
    """Keep at most `most` evenly spaced values, the first and the last among them.

    Examples:
        >>> thin(range(100), 4)
        [0, 33, 66, 99]
    """
    if len(values) <= most:
        return list(values)
    last, gaps = len(values) - 1, max(most - 1, 1)
    return [values[round(i * last / gaps)] for i in range(most)]
