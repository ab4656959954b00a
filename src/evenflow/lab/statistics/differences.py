"""Checks of means, of paired differences and of paired ratios."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evenflow.lab.prediction import Prediction, Range
from evenflow.lab.statistics.interval import finite, interval, p_of_mean
from evenflow.lab.verdict import Check

Array = NDArray[np.float64]

# Below this share of the mean a standard deviation is made of rounding errors.
ROUNDING = 1e-9


def mean_check(prediction: Prediction, name: str, values: Array, effect: str) -> Check:
    """Compare the mean of independent values with its predicted range.

    Args:
        prediction: Where the range is.
        name: Its name there.
        values: One value for each seed.
        effect: What it is, in words, with its unit.

    Raises:
        NoResultsError: A value is not finite, or there is none.

    Examples:
        >>> prediction = Prediction("Near one.", ratio=(0.9, 1.1))
        >>> mean_check(prediction, "ratio", np.array([1.0, 1.01, 0.99, 1.02]), "ratio").word
        'supported'
    """
    return _check(finite(values, effect), prediction[name], name, effect)


def paired_check(prediction: Prediction, name: str, first: Array, second: Array, effect: str) -> Check:
    """Compare the mean of the paired differences `first - second` with its predicted range; see `mean_check`.

    The standardised size is Cohen's d of the differences: their mean over their standard deviation.
    """
    return mean_check(prediction, name, first - second, effect)


def ratio_check(prediction: Prediction, name: str, first: Array, second: Array, effect: str) -> Check:
    """Compare the geometric mean of the paired ratios `first / second` with its predicted range.

    All is done on logarithms. The range must not reach below 0.

    Raises:
        NoResultsError: A value is not positive and finite.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = finite(np.log(first) - np.log(second), effect)
    wanted = prediction[name]
    check = _check(logs, Range(_log(wanted.low), _log(wanted.high)), name, effect)
    estimate, low, high = (math.exp(x) for x in (check.estimate, check.low, check.high))
    return replace(check, estimate=estimate, low=low, high=high, expected=wanted)


def _check(values: Array, expected: Range, name: str, effect: str) -> Check:
    low, high = interval(values)
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    mean = float(values.mean())
    size = mean / spread if spread > ROUNDING * abs(mean) else None
    p = p_of_mean(values, expected)
    return Check(name, effect, mean, low, high, expected, len(values), p, size)


def _log(end: float) -> float:
    return math.log(end) if end > 0 else -math.inf
