"""Checks of shares: how many runs did something."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evenflow.errors import NoResultsError
from evenflow.lab.prediction import Prediction, Range
from evenflow.lab.statistics.interval import interval
from evenflow.lab.verdict import Check


def share_check(prediction: Prediction, name: str, happened: NDArray[Any], effect: str) -> Check:
    """Compare the share of runs in which something happened with its predicted range.

    The interval is Clopper and Pearson's, which holds also when all or none did.

    Args:
        prediction: Where the range is.
        name: Its name there.
        happened: 1 or 0 (or booleans) for each independent run.
        effect: What happened, in words.

    Raises:
        NoResultsError: There is no run.

    Examples:
        >>> prediction = Prediction("Most train.", trains=(0.5, 1))
        >>> share_check(prediction, "trains", np.ones(10), "share of runs that train").word
        'supported'
    """
    yes = np.asarray(happened, dtype=bool)
    if len(yes) == 0:
        raise NoResultsError(f"{effect} needs at least one run")
    expected, count, total = prediction[name], int(yes.sum()), len(yes)
    found = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
    return Check(name, effect, count / total, found.low, found.high, expected, total, _p(count, total, expected))


def share_difference_check(
    prediction: Prediction, name: str, first: NDArray[Any], second: NDArray[Any], effect: str
) -> Check:
    """Compare the difference of two paired shares, `first - second`, with its predicted range.

    The interval is a paired bootstrap; where all pairs agree, it is that of the share of pairs that could have
    disagreed (Clopper and Pearson). The standardised size is Cohen's h.

    Args:
        prediction: Where the range is.
        name: Its name there.
        first: 1 or 0 for each pair.
        second: 1 or 0 for each pair.
        effect: What it is, in words.
    """
    one, other = (np.asarray(x, dtype=np.float64) for x in (first, second))
    if len(one) == 0:
        raise NoResultsError(f"{effect} needs at least one pair")
    expected, difference = prediction[name], one - other
    mean, total = float(difference.mean()), len(one)
    low, high = interval(difference)
    if low == high:
        # n equal differences: what share of other ones could have been missed?
        unseen = float(stats.binomtest(0, total).proportion_ci(0.95, method="exact").high)
        low, high = max(-1.0, mean - unseen * (1 + mean)), min(1.0, mean + unseen * (1 - mean))
    wins, losses = int((difference > 0).sum()), int((difference < 0).sum())
    p = float(stats.binomtest(max(wins, losses), wins + losses, alternative="greater").pvalue) if wins + losses else 1.0
    size = 2 * math.asin(math.sqrt(float(one.mean()))) - 2 * math.asin(math.sqrt(float(other.mean())))
    return Check(name, effect, mean, low, high, expected, total, p, size)


def _p(count: int, total: int, expected: Range) -> float:
    share = count / total
    if share in expected:
        return max(_p_above(count, total, expected.low), _p_above(total - count, total, 1 - expected.high))
    if share < expected.low:
        return _p_above(total - count, total, 1 - expected.low)
    return _p_above(count, total, expected.high)


def _p_above(count: int, total: int, bound: float) -> float:
    if bound <= 0:
        return 0.0
    return float(stats.binomtest(count, total, min(bound, 1.0), alternative="greater").pvalue) if bound < 1 else 1.0
