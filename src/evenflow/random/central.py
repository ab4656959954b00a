"""Words to truncated normal numbers where the interval reaches near the mean: the case of every common initialiser."""

import math

import numpy as np
from numpy.typing import NDArray

from evenflow.random.transforms import F32, Floats, horner, log

# The quantile of the normal distribution, divided by 1 - 2q: in w = -ln(4 q (1 - q)) about 3.25 up to w = 6.5, in
# sqrt(w) about 3.5 beyond, up to sqrt(w) = 4.8. Both were fitted to have the smallest largest error, 6e-9 and 2e-8 of
# the value.
NEAR = tuple(map(F32, (
    2.3809397220611572, 0.3374546468257904, -0.008901417255401611, -0.0009185464004985988, 0.0002514761290512979,
    -2.0926943761878647e-05, -1.457024836781784e-06, 5.649607714985905e-07, -4.100833805864568e-08,
    -5.418529624989787e-09, 9.046348670160853e-10,
)))  # fmt: skip
FAR = tuple(map(F32, (
    4.7170891761779785, 1.4246342182159424, 0.004636980127543211, -0.0029116307850927114, 0.001526957261376083,
    -0.00098073435947299, 0.0006598782492801547, -0.0003038946015294641, 5.522847641259432e-05,
    3.823640781774884e-06,
)))  # fmt: skip
MIDDLE, MIDDLE_ROOT, LIMIT = F32(3.25), F32(3.5), F32(6.5)

# The smallest tail that the polynomials were fitted for, and the narrowest interval, in standard deviations, in which
# their error of 4e-7 is still small.
_SMALLEST_TAIL = 2.0**-35
_NARROWEST = 0.1


def parameters(mean: float, std: float, low: float, high: float) -> tuple[float, ...] | None:
    """What `central` takes beside the words; None where the interval is too far from the mean, or too narrow.

    Examples:
        >>> parameters(0.0, 1.0, -2.0, 2.0) is None, parameters(0.0, 1.0, 9.0, 10.0) is None
        (False, True)
    """
    if std == 0 or not (high - low) / std >= _NARROWEST:
        return None
    left, right = _tail((mean - low) / std), _tail((high - mean) / std)
    share = 1.0 - left - right if left + right < 0.5 else _between((low - mean) / std, (high - mean) / std)
    if min(left, right) + share * 2.0**-32 < _SMALLEST_TAIL:
        return None
    return left, right, share, mean, std, *map(float, ends(low, high))


def _tail(distance: float) -> float:
    """Probability of a standard normal number below -distance."""
    return math.erfc(distance / math.sqrt(2)) / 2


def _between(start: float, end: float) -> float:
    if start > 0:
        return _tail(start) - _tail(end)
    return _tail(-end) - _tail(-start)


def central(
    words: NDArray[np.uint32], left: float, right: float, share: float, mean: float, std: float, low: float, high: float
) -> Floats:
    r"""Return numbers of the normal distribution confined to [low, high], one for each word.

    With $u = (\lfloor w / 2 \rfloor + \tfrac12)\, 2^{-31}$ and, in float64, the probabilities of a smaller and of a
    larger number, $l = left + u\, share$ and $r = right + (1 - u)\, share$, the rest is float32:

    $$ q = \min(l, r), \quad y = 1 - 2 q, \quad v = -\ln(4 q (1 - q)), \quad x = mean \mp std\; y\, P(v) $$

    moved into [low, high] where rounding left it. `P` is one of two polynomials.

    Measured over the whole normal distribution, the quantile is within 2.9e-7 of its true value, relatively (4.1 ulp),
    and within 3.6e-7 standard deviations inside two of them.

    Args:
        words: Random words.
        left: Probability below the interval.
        right: Probability above the interval.
        share: Probability of the interval.
        mean: Mean of the normal distribution before truncation.
        std: Its standard deviation.
        low: Smallest number, a float32.
        high: Largest number, a float32.

    References:
        Giles 2012, "Approximating the erfinv function", for the variable; the polynomials are our own.
    """
    u = ((words >> np.uint32(1)).astype(np.float64) + 0.5) * 2.0**-31
    below, above = left + u * share, right + (1.0 - u) * share
    q = np.minimum(below, above)
    y, tail = (1.0 - 2.0 * q).astype(F32), q.astype(F32)
    v = -log(F32(4) * tail * (F32(1) - tail))
    quotient = np.where(v < LIMIT, horner(NEAR, v - MIDDLE), horner(FAR, np.sqrt(v) - MIDDLE_ROOT))
    size = y * quotient
    draws = np.where(below < above, -size, size) * F32(std) + F32(mean)
    # Not `np.clip`, whose result for a zero may have either sign.
    raised = np.where(draws < F32(low), F32(low), draws)
    lowered: Floats = np.where(raised > F32(high), F32(high), raised)
    return lowered


def ends(low: float, high: float) -> tuple[np.float32, np.float32]:
    """Return the smallest and the largest float32 in [low, high]; without one, the nearest to `low` twice."""
    largest = float(np.finfo(F32).max)
    bottom, top = F32(max(low, -largest)), F32(min(high, largest))
    if float(bottom) < low:  # NumPy would compare them as float32
        bottom = np.nextafter(bottom, F32(np.inf))
    if float(top) > high:
        top = np.nextafter(top, F32(-np.inf))
    return (bottom, top) if bottom <= top else (F32(low), F32(low))
