"""A logarithmic axis that does not hide what a logarithm cannot show: zeros, NaN and infinities."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["measured", "zero", "not finite"]

LOWEST, HIGHEST = -240, 240
MOST_TICKS = 7
LEAST = 2


@dataclass(frozen=True, slots=True)
class LogAxis:
    """Whole decades around the positive values, a gap below them for zeros, one above for NaN and infinity.

    There are at least `LEAST` decades, so that an even signal looks even.

    Attributes:
        low: Exponent of the lowest decade that values need.
        high: Exponent of the highest one.
        zeros: Whether there are zeros to show.
        nonfinite: Whether there are NaN or infinite values to show.
    """

    low: int
    high: int
    zeros: bool = False
    nonfinite: bool = False

    @classmethod
    def around(cls, values: Iterable[float]) -> "LogAxis":
        """Fit the axis to the values.

        Examples:
            >>> LogAxis.around([0.02, 3.0, 0.0])
            LogAxis(low=-2, high=1, zeros=True, nonfinite=False)
        """
        listed = list(values)
        logs = [math.log10(v) for v in listed if math.isfinite(v) and v > 0]
        low = _bounded(math.floor(min(logs, default=-1)))
        high = _bounded(math.ceil(max(logs, default=0)))
        low -= max(0, LEAST - (high - low))
        return cls(
            low=low,
            high=high,
            zeros=any(v == 0 for v in listed),
            nonfinite=not all(map(math.isfinite, listed)),
        )

    @property
    def floor(self) -> float:
        """Where zeros are drawn, and the lower end."""
        return 10.0 ** (self.low - self.gap if self.zeros else self.low)

    @property
    def ceiling(self) -> float:
        """Where NaN and infinity are drawn, and the upper end."""
        return 10.0 ** (self.high + self.gap if self.nonfinite else self.high)

    @property
    def gap(self) -> int:
        """Decades between the measured values and the marks for those that are not on the scale."""
        return max(1, (self.high - self.low) // 8)

    def place(self, value: float) -> tuple[float, State]:
        """Return where a value is drawn, and as what.

        Examples:
            >>> LogAxis(-2, 1, zeros=True).place(0.0)
            (0.001, 'zero')
        """
        if not math.isfinite(value):
            return self.ceiling, "not finite"
        if value <= 0:
            return self.floor, "zero"
        return min(max(value, 10.0**self.low), 10.0**self.high), "measured"

    @property
    def ticks(self) -> list[float]:
        """At most about `MOST_TICKS` decades, and the two ends where they stand for something else."""
        stride = math.ceil((self.high - self.low + 1) / MOST_TICKS)
        decades = [10.0**e for e in range(self.low, self.high + 1) if e % stride == 0]
        return [self.floor] * self.zeros + decades + [self.ceiling] * self.nonfinite

    @property
    def label_expression(self) -> str:
        """A Vega expression that names the ticks: decades in digits, the ends by what they stand for."""
        powers = "replace(format(datum.value, '.0e'), 'e+', 'e')"
        digits = f"datum.value >= 0.01 && datum.value <= 1000 ? format(datum.value, '~g') : {powers}"
        if self.nonfinite:
            digits = f"datum.value > {10.0**self.high * 1.5!r} ? 'NaN, ∞' : {digits}"
        if self.zeros:
            digits = f"datum.value < {10.0**self.low / 1.5!r} ? 'zero' : {digits}"
        return digits


def _bounded(exponent: int) -> int:
    return min(max(exponent, LOWEST), HIGHEST)
