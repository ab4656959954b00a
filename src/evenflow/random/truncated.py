"""Words to truncated normal numbers, exact for any interval."""

import numpy as np
from numpy.typing import NDArray

from evenflow.random.central import ends
from evenflow.random.inverse import inverse
from evenflow.random.transforms import F32, Floats

_SMALLEST = float(np.finfo(F32).smallest_subnormal)
_LARGEST = float(np.finfo(F32).max)


def truncated_normal(words: NDArray[np.uint32], mean: float, std: float, low: float, high: float) -> Floats:
    r"""Return numbers of the normal distribution confined to [low, high], one for each word.

    $$
    x = mean + std\,\Phi^{-1}\big(\Phi(a) + u\,(\Phi(b) - \Phi(a))\big), \quad
    a = \frac{low - mean}{std}, \quad b = \frac{high - mean}{std}, \quad u = (w + \tfrac12)\,2^{-32}
    $$

    computed in float64 in a form that keeps its digits for every interval (see `evenflow.random.inverse`),
    rounded to float32 once, and moved to the nearest float32 inside the interval where rounding left it.
    Larger words give larger numbers.

    Args:
        words: Random words.
        mean: Mean of the normal distribution before truncation, at most half of the largest float32.
        std: Its standard deviation, at most a sixteenth of it. Where it is 0, all numbers are the mean moved
            into the interval.
        low: Smallest number, or -inf.
        high: Largest number, or inf, not below `low`.

    Examples:
        >>> middle = np.array([2**31], dtype=np.uint32)
        >>> truncated_normal(middle, 0.0, 1.0, 4.0, 400.0)
        array([4.161104], dtype=float32)

    References:
        Robert 1995, "Simulation of truncated normal variables", section 1 (the inverse that is exact here; no
        rejection is needed).
    """
    bottom, top = max(low, -_LARGEST), min(high, _LARGEST)
    if std < _SMALLEST or bottom == top:
        draws = np.full(words.shape, min(max(mean, bottom), top), dtype=np.float64)
    else:
        draws = inverse((words.astype(np.float64) + 0.5) * 2.0**-32, mean, std, bottom, top)
    least, most = ends(bottom, top)
    return np.clip(draws, float(least), float(most)).astype(F32)
