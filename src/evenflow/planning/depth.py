"""Deep networks without normalisation or residual sums: where on the critical line their signals should run."""

from functools import lru_cache

from evenflow.errors import ParameterValueError
from evenflow.planning.layer import Network
from evenflow.theory.mean_field import CriticalPoint, critical_point, statistics

# Rectifiers scale with their input, so that every variance is as good as every other; SELU has its own fixed point.
SCALE_FREE = {"relu", "leaky_relu", "prelu", "relu6", "selu"}

# An activation whose slope at small inputs has less than this share of the mean square that it has at unit variance
# needs large ones.
MINIMAL_SLOPE = 0.25

# Above this share of the second moment a mean makes all samples alike, and biases take it out.
LARGE_MEAN = 0.25

# Above this share hardly anything else is left of small pre-activations, and unit ones are better where the function
# brings differing variances together at least so quickly.
ONLY_MEAN = 0.9
CONTRACTING = 0.9

# By how much, as an exponent, the whole depth may multiply a difference in variance between two samples.
GROWTH = 0.5


def plain_depth(network: Network) -> int:
    """Number of layers with an activation behind them, in a network that nothing else keeps even; else 0."""
    if any(layer.role == "norm" or layer.sums for layer in network.layers):
        return 0
    return len({layer.name for layer in network.layers if layer.role == "weight" and layer.activation})


def variance_in_depth(name: str, param: float | None, depth: int) -> float:
    """Variance of the pre-activations of a plain network of this depth: that of its critical point, or else 1."""
    point = critical(name, param, depth)
    return 1.0 if point is None else point.q


@lru_cache(maxsize=256)
def critical(name: str, param: float | None, depth: int) -> CriticalPoint | None:
    """The point of the critical line for a plain network; None for a shallow one, and where none is needed or known.

    Its variance is one over the depth. The closer that is to zero, the more linear is every layer: the correlation of
    two samples and the curvature change per layer in proportion to the variance, so that one over the depth bounds what
    the whole network does. A function that gives little more than its mean there, as the sigmoid, runs at 1. The
    variance is halved while the depth would multiply a difference in variance between two samples by more than
    exp(1/2): a function such as GELU lets the larger of them grow.
    """
    if depth < 2 or name in SCALE_FREE:
        return None

    def steep(point: CriticalPoint) -> bool:
        slopes = [statistics(name, q, param).slope_moment for q in (point.q, 1.0)]
        return slopes[0] >= MINIMAL_SLOPE * slopes[1] > 0

    try:
        point = _start(name, param, depth)
        while steep(point) and depth * (_variance_slope(name, param, point) - 1) > GROWTH:
            point = _point(name, param, point.q / 2)
    except ParameterValueError:  # flat almost everywhere, or not to be integrated
        return None
    return point if steep(point) else None


def _start(name: str, param: float | None, depth: int) -> CriticalPoint:
    moments = statistics(name, 1 / depth, param)
    if moments.mean**2 > ONLY_MEAN * moments.second_moment:
        unit = _point(name, param, 1.0)
        if _variance_slope(name, param, unit) < CONTRACTING:
            return unit
    return _point(name, param, 1 / depth)


def _point(name: str, param: float | None, variance: float) -> CriticalPoint:
    moments = statistics(name, variance, param)
    centred = moments.mean**2 > LARGE_MEAN * moments.second_moment
    try:
        return critical_point(name, variance, param, centred=centred)
    except ParameterValueError:
        return critical_point(name, variance, param, centred=True)


def _variance_slope(name: str, param: float | None, point: CriticalPoint, step: float = 0.01) -> float:
    """Derivative of the variance map at a critical point: what a layer multiplies a small excess of variance by."""
    low, high = (statistics(name, point.q * factor, param) for factor in (1 - step, 1 + step))
    spread = [m.second_moment - 2 * point.mean * m.mean + point.mean**2 for m in (low, high)]
    return point.weight_variance * (spread[1] - spread[0]) / (high.q - low.q)
