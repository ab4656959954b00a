"""Steps to a target, when some runs never arrive."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evenflow.lab.prediction import Prediction
from evenflow.lab.statistics.differences import ratio_check
from evenflow.lab.verdict import Check

Array = NDArray[np.float64]

MOST_CENSORED = 0.5


@dataclass(frozen=True, slots=True)
class Survival:
    """The share of runs still on their way, by Kaplan and Meier.

    Attributes:
        steps: Steps at which it falls, ascending, after 0.
        share: Share that has not arrived after each.
        median: Steps after which half have arrived; inf where fewer ever do.
        arrived: How many arrived within the budget.
        total: How many runs there are.
    """

    steps: tuple[float, ...]
    share: tuple[float, ...]
    median: float
    arrived: int
    total: int


def survival(steps: Array, limit: float) -> Survival:
    """Estimate the share of runs that are still on their way.

    Args:
        steps: Steps to the target of each run; inf (or more than `limit`) for one that had not arrived after
            `limit` steps: it is censored there, not dropped.
        limit: The budget.

    Examples:
        >>> found = survival(np.array([10.0, 20.0, np.inf]), 100)
        >>> found.median, found.arrived, found.total
        (20.0, 2, 3)

    References:
        Kaplan & Meier 1958, "Nonparametric estimation from incomplete observations"; `scipy.stats.ecdf`.
    """
    function = stats.ecdf(_censored(steps, limit)).sf
    below = np.flatnonzero(function.probabilities <= 0.5)
    median = float(function.quantiles[below[0]]) if len(below) else math.inf
    arrived = int((steps <= limit).sum())
    return Survival(
        steps=(0.0, *map(float, function.quantiles)),
        share=(1.0, *map(float, function.probabilities)),
        median=median if median < limit or arrived == len(steps) else math.inf,
        arrived=arrived,
        total=len(steps),
    )


def log_rank(first: Array, second: Array, limit: float) -> float:
    """The p value of the log-rank test that two groups arrive alike; 1 when nobody arrives.

    References:
        Mantel 1966; `scipy.stats.logrank`.
    """
    if not ((first <= limit).any() or (second <= limit).any()):
        return 1.0
    return float(stats.logrank(_censored(first, limit), _censored(second, limit)).pvalue)


def steps_check(prediction: Prediction, name: str, first: Array, second: Array, limit: float, effect: str) -> Check:
    """Compare the ratio of steps to a target, `first / second`, with its predicted range.

    Paired runs; one that does not arrive counts with `limit`, so that the ratio is that of the steps *within the
    budget* (restricted means, of logarithms). When only one side is cut off, the true ratio is further from 1. Where
    neither arrives in more than half of the pairs, the budget tells nothing about the ratio, and p is 1; and so it is
    where a ratio lies in its range only since more than half of one side are cut off.

    Args:
        prediction: Where the range is.
        name: Its name there.
        first: Steps to the target; inf for never.
        second: Steps of the partners.
        limit: The budget of both, in steps.
        effect: What it is, in words.

    References:
        Royston & Parmar 2013, "Restricted mean survival time".
    """
    one, other = np.clip(first, 1, limit), np.clip(second, 1, limit)
    check = ratio_check(prediction, name, one, other, f"{effect}, within {limit:g} steps")
    late, later = one >= limit, other >= limit
    span = prediction[name]
    flattered = (math.isfinite(span.high) and late.mean() > MOST_CENSORED) or (
        span.low > 0 and later.mean() > MOST_CENSORED
    )
    unknown = (late & later).mean() > MOST_CENSORED or (flattered and check.word == "supported")
    return replace(check, p=1.0) if unknown else check


def _censored(steps: Array, limit: float) -> stats.CensoredData:
    late = steps > limit
    return stats.CensoredData(uncensored=steps[~late], right=np.full(int(late.sum()), float(limit)))
