"""dead: units that output zero, with derivative zero, for every sample: they get no gradient and cannot recover.

Null: pre-activations of zero mean whose units differ by a normal offset of the variance that was measured between
units, and vary across samples by the variance that was measured within units. A unit is then silent on N samples with
probability E[Phi(-m/s)^N]; deep ReLU networks reach half of their units so, since their samples grow alike, and are
healthy. Threshold: the expected share plus four binomial standard deviations plus 10 % is a warning; plus 25 %, and
more than half of the units, an error. All units dead is always an error. False positives: about 3e-5 a layer.
"""

import math
from collections.abc import Iterator

import numpy as np

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.rules.reading import names
from evenflow.probe import Activation, LayerRecord, NetworkRecord

RULE = "dead"
SIGMAS = 4.0
POINTS, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer with more dead units than chance explains."""
    over: list[tuple[LayerRecord, Activation, bool]] = []
    for layer in network.layers:
        activation = layer.activation
        if activation is None or activation.dead is None:
            continue
        expected = expected_share(activation)
        excess = activation.dead - expected - SIGMAS * math.sqrt(expected * (1 - expected) / activation.units)
        if activation.dead == 1 or excess > 0.1:
            severe = activation.dead == 1 or (excess > 0.25 and activation.dead > 0.5)
            over.append((layer, activation, severe))
    if not over:
        return
    worst = [item for item in over if item[2]] or over
    first, activation, severe = worst[0]
    dead = activation.dead or 0.0
    yield Finding(
        RULE,
        "error" if severe else "warning",
        first.name,
        {"dead": dead, "expected": expected_share(activation), "units": activation.units},
        f"{dead:.0%} of the {activation.units} units of {first.name} are zero for every sample (chance explains "
        f"{expected_share(activation):.0%}): they get no gradient.",
        "Draw the weights again with biases at zero, lower the learning rate, or put a BatchNorm before the "
        "activation.",
        names(layer for layer, _, _ in worst),
    )


def expected_share(activation: Activation) -> float:
    """Share of units that chance silences on this many samples, from the variances within and between units."""
    pre = activation.input
    within = pre.spread or 0.0
    if within == 0:
        return 0.5
    between = math.sqrt(max(0.0, pre.std**2 - within**2))
    silent = [0.5 * math.erfc(point * between / within / math.sqrt(2)) for point in POINTS]
    probability = sum(w * p**pre.samples for w, p in zip(WEIGHTS, silent, strict=True))
    return float(probability / math.sqrt(2 * math.pi))
