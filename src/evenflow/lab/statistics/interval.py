"""Bootstrap intervals of means, and how clearly a mean lies in a range."""

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evenflow.errors import NoResultsError
from evenflow.lab.prediction import Range

Array = NDArray[np.float64]

RESAMPLES = 4000
CONFIDENCE = 0.95
LEAST = 3


def interval(values: Array) -> tuple[float, float]:
    """A 95 % interval of the mean: bias-corrected and accelerated bootstrap, the same for the same values.

    Equal values give that value twice. Below `LEAST` values there is none: (-inf, inf).

    Args:
        values: Finite numbers.

    Examples:
        >>> low, high = interval(np.array([1.0, 2.0, 3.0, 2.0, 2.0]))
        >>> low < 2 < high
        True

    References:
        Efron 1987, "Better bootstrap confidence intervals"; `scipy.stats.bootstrap`.
    """
    if len(values) < LEAST:
        return -math.inf, math.inf
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        return float(values[0]), float(values[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            (values,), np.mean, confidence_level=CONFIDENCE, n_resamples=RESAMPLES, rng=np.random.default_rng(0)
        ).confidence_interval
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        half = stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values)
        return float(values.mean() - half), float(values.mean() + half)
    return float(found.low), float(found.high)


def p_of_mean(values: Array, expected: Range) -> float:
    """How likely a mean as clearly inside the range (or outside, where it is) would be, were the opposite true.

    Inside, the larger p of two one-sided t tests against the ends (TOST), for equivalence; outside, the p of
    the one-sided t test against the nearer end.

    Args:
        values: Finite numbers, independent of each other.
        expected: The range.

    References:
        Schuirmann 1987, "A comparison of the two one-sided tests procedure ...".
    """
    if len(values) < LEAST:
        return 1.0
    mean = float(values.mean())
    if mean in expected:
        sides = [_p_above(values, expected.low), _p_above(-values, -expected.high)]
        return max(sides)
    return _p_above(-values, -expected.low) if mean < expected.low else _p_above(values, expected.high)


def _p_above(values: Array, bound: float) -> float:
    """One-sided p that the mean is not above `bound`."""
    if math.isinf(bound):
        return 0.0
    error = float(stats.sem(values))
    distance = float(values.mean()) - bound
    if error <= 1e-12 * max(abs(bound), float(np.abs(values).max())):
        return 0.0 if distance >= 0 else 1.0
    return float(stats.t.sf(distance / error, len(values) - 1))


def finite(values: Array, what: str) -> Array:
    """The values, if all are finite.

    Raises:
        NoResultsError: There are none, or NaN or infinity is among them.
    """
    if len(values) == 0 or not np.isfinite(values).all():
        raise NoResultsError(f"{what} needs finite values; got {values[~np.isfinite(values)][:5]} among {len(values)}")
    return values
