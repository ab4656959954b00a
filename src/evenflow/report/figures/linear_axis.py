"""A linear axis that shows NaN and infinity at its upper end."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from evenflow.report.figures.log_axis import State


@dataclass(frozen=True, slots=True)
class LinearAxis:
    """An axis from `low` to `high`."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Iterable[float]) -> "LinearAxis":
        """Fit the axis to the finite values.

        Examples:
            >>> LinearAxis.around([-1.0, 3.0, float("nan")])
            LinearAxis(low=-1.0, high=3.0)
        """
        finite = [v for v in values if math.isfinite(v)]
        low = min(finite, default=0.0)
        return cls(low, max(max(finite, default=1.0), low + 1e-6))

    def place(self, value: float) -> tuple[float, State]:
        """Return where a value is drawn, and as what.

        Examples:
            >>> LinearAxis(0.0, 1.0).place(float("inf"))
            (1.0, 'not finite')
        """
        return (value, "measured") if math.isfinite(value) else (self.high, "not finite")
