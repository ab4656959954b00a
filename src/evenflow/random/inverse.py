r"""The inverse of the distribution function of a truncated normal distribution, in float64.

The textbook formula $\Phi^{-1}(\Phi(a) + u\,(\Phi(b) - \Phi(a)))$ loses all digits where $\Phi$ is near
1, or where `a` and `b` are close. Three forms, each kept to where it is accurate, have an error below 1e-14
standard deviations, or, six deviations from a mean that lies inside the interval, below 2e-8 of the value
(float32 rounds by up to 6e-8):

- around the mean: the error function, which is odd and so keeps its digits near 0;
- beyond one standard deviation: the logarithm of the tail, as a distance from the near end of the interval;
- on an interval of less than 1e-5 standard deviations beside the mean: an exponential, as the normal density
  is there.
"""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

_NARROW = 1e-5
_NEWTON_STEPS = 5
_SQRT2 = np.sqrt(2.0)


def inverse(u: Doubles, mean: float, std: float, low: float, high: float) -> Doubles:
    """Return the quantiles `u` of the normal distribution (mean, std) confined to [low, high].

    Args:
        u: Probabilities in (0, 1).
        mean: Mean before truncation.
        std: Standard deviation before truncation, above 0.
        low: Lower end of the interval, finite.
        high: Upper end, above `low`, finite.

    Examples:
        >>> inverse(np.array([0.25, 0.5]), 0.0, 1.0, -9.0, 9.0).round(4)
        array([-0.6745,  0.    ])
        >>> inverse(np.array([0.5]), 0.0, 1.0, 40.0, 41.0).round(4)
        array([40.0173])
    """
    if high <= mean:
        return -_upper(1.0 - u, -mean, std, -high, -low)
    return _upper(u, mean, std, low, high)


def _upper(u: Doubles, mean: float, std: float, low: float, high: float) -> Doubles:
    """Invert where the interval does not lie wholly below the mean."""
    start, width = (low - mean) / std, (high - low) / std
    if start >= 0 and width < _NARROW:
        # ln of the density falls by start * d + d^2 / 2, which a line through both ends meets to 1e-11.
        return low + std * _exponential(u, start + width / 2, width)
    if start >= 1:
        return low + std * _beyond(u, start, width)
    return mean + std * _around(u, start, (high - mean) / std)


def _around(u: Doubles, start: float, end: float) -> Doubles:
    """Invert the standard normal distribution on [start, end]."""
    from scipy import special

    left, right = special.erf(start / _SQRT2), special.erf(end / _SQRT2)
    return np.asarray(_SQRT2 * special.erfinv(left + u * (right - left)))


def _exponential(u: Doubles, rate: float, width: float) -> Doubles:
    """Invert the exponential distribution on [0, width]."""
    return np.asarray(-np.log1p(u * np.expm1(-rate * width)) / rate)


def _beyond(u: Doubles, start: float, width: float) -> Doubles:
    r"""Invert the standard normal distribution on [start, start + width]; return the distance from `start`.

    With the tail $Q$ and $H(d) = -\ln(Q(start + d) / Q(start))$, the distance solves

    $$ H(d) = -\ln(1 - u\,(1 - e^{-H(width)})) $$

    $H$ is convex, so Newton's method, begun above the root, comes down to it and never steps too far.
    """
    total, _ = _tail(start, np.asarray(width))
    target = -np.log1p(u * np.expm1(-total))
    distance = 2 * target / (start + np.sqrt(start * start + 2 * target))
    for _ in range(_NEWTON_STEPS):
        value, slope = _tail(start, distance)
        distance = distance - (value - target) / slope
    return np.asarray(distance)


def _tail(start: float, distance: Doubles) -> tuple[Doubles, Doubles]:
    r"""Return $H(d)$ and its slope, by the scaled tail $e^{x^2/2} Q(x)$, which never underflows."""
    from scipy import special

    scaled = special.erfcx((start + distance) / _SQRT2)
    value = start * distance + distance * distance / 2 - np.log(scaled / special.erfcx(start / _SQRT2))
    return value, np.sqrt(2 / np.pi) / scaled
