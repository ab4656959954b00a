"""Checks of identities, in which chance has no part."""

import numpy as np
from numpy.typing import NDArray

from evenflow.lab.prediction import Prediction
from evenflow.lab.verdict import Check


def exact_check(prediction: Prediction, name: str, values: NDArray[np.float64], effect: str) -> Check:
    """Ask that every value lies in its predicted range.

    The interval is that of the values themselves. NaN lies in no range: a check with NaN is refuted.

    Args:
        prediction: Where the range is.
        name: Its name there.
        values: All values, whatever they come from; at least one.
        effect: What they are, in words, with their unit.

    Examples:
        >>> prediction = Prediction("Rounding errors.", error=(0, 1e-6))
        >>> exact_check(prediction, "error", np.array([1e-8, 3e-7]), "largest error").word
        'supported'
        >>> exact_check(prediction, "error", np.array([1e-8, np.nan]), "largest error").word
        'refuted'
    """
    expected = prediction[name]
    if np.isnan(values).any():
        values = np.array([np.inf])
    low, high = float(values.min()), float(values.max())
    outside = [float(v) for v in values if float(v) not in expected]
    if outside:
        # One counterexample refutes an identity: the interval shown is that of the values that break it.
        low, high = min(outside), max(outside)
    return Check(name, effect, float(np.median(values)), low, high, expected, len(values))
