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

# Above this share hardly anything else is left of small pre-activations.
ONLY_MEAN = 0.9


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
    the whole network does. A function that gives little more than its mean there, as the sigmoid, runs at 1.
    """
    if depth < 2 or name in SCALE_FREE:
        return None
    try:
        small, unit = (statistics(name, q, param) for q in (1 / depth, 1.0))
    except ParameterValueError:
        return None
    if small.slope_moment < MINIMAL_SLOPE * unit.slope_moment or unit.slope_moment == 0:
        return None
    chosen = unit if small.mean**2 > ONLY_MEAN * small.second_moment else small
    centred = chosen.mean**2 > LARGE_MEAN * chosen.second_moment
    try:
        return critical_point(name, chosen.q, param, centred=centred)
    except ParameterValueError:
        return critical_point(name, chosen.q, param, centred=True)
