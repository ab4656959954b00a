"""A threshold from what has been seen."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evenflow.errors import HistoryError

LEAST = 20
"""Steps without which nothing is suggested."""

_WIDTHS = 3.0
_TO_STANDARD_DEVIATION = 1.4826
"""Of a normal distribution, by its median absolute deviation."""
_LEAST_SPREAD = 0.05


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A threshold and why.

    Attributes:
        threshold: The threshold, in the unit of the clipper that suggests it.
        reason: Why, in a sentence.
        rate: Share of the steps in the history that were beyond it.
    """

    threshold: float
    reason: str
    rate: float

    def __str__(self) -> str:
        return f"{self.threshold:.4g}: {self.reason}"


def suggestion(measures: Sequence[float]) -> Suggestion:
    r"""Suggest a threshold that lets ordinary steps pass and clips those that stand out.

    $$
    \theta = \exp\bigl(\operatorname{median}(\ln m) + 3 \cdot 1.4826 \operatorname{MAD}(\ln m)\bigr)
    $$

    Norms of gradients vary by factors, so their logarithms are compared; median and median absolute deviation do not
    notice the outliers that are to be clipped. Of normal logarithms, 0.13 % are beyond.

    Args:
        measures: Positive and finite.

    Raises:
        HistoryError: There are fewer than 20.

    Examples:
        >>> print(suggestion([1.0, 2.0] * 30 + [50.0]))
        43.65: the median of 61 steps is 2, ordinary ones vary by a factor of 2.79, and this is three such factors
        above; 1.6 % of the steps were beyond
    """
    if len(measures) < LEAST:
        raise HistoryError(
            f"a threshold can be suggested from {LEAST} steps with finite gradients on; there were {len(measures)} in "
            "the history: go on training, or keep a longer history"
        )
    logs = np.log(measures)
    middle = float(np.median(logs))
    spread = max(_TO_STANDARD_DEVIATION * float(np.median(np.abs(logs - middle))), _LEAST_SPREAD)
    threshold = math.exp(middle + _WIDTHS * spread)
    rate = float(np.mean(logs > math.log(threshold)))
    reason = (
        f"the median of {len(measures)} steps is {math.exp(middle):.3g}, ordinary ones vary by a factor of "
        f"{math.exp(spread):.3g}, and this is three such factors above; {100 * rate:.2g} % of the steps were beyond"
    )
    return Suggestion(threshold, reason, rate)
