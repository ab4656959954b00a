"""dead: units that output zero, with derivative zero, for every sample: they get no gradient and cannot recover.

Null: pre-activations of zero mean whose units differ by a normal offset of the variance that was measured between
units, and vary across samples by the variance that was measured within units. A unit is then silent on N independent
samples with probability E[Phi(-m/s)^N]. Deep ReLU networks reach half of their units so, since their samples grow
alike, and are healthy. Real samples are not independent, they vary along few directions: N is taken as 8 at most, above
which the formula falls short of what He's networks of 30 to 100 layers show.

Threshold: the expected share plus four binomial standard deviations plus 10 % is a warning, and an error when all units
are dead; plus 25 %, and more than half of the units, is an error. A layer that is dead as a whole is a warning at
least. A layer whose input does not vary is the victim of an earlier one, and not named. False positives: no warning in
200 draws of each healthy family of the tests.
"""

import math
from collections.abc import Iterator

import numpy as np
from scipy.special import ndtr

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import names
from evenflow.probe import Activation, LayerRecord, NetworkRecord

RULE = "dead"
SIGMAS = 4.0
INDEPENDENT_SAMPLES = 8
WARNING, ERROR = 0.1, 0.25

# Offsets of the units in standard deviations, fine enough for the step that the silent share becomes in the limit.
OFFSETS = np.linspace(-8.0, 8.0, 1601)
DENSITY = np.exp(-(OFFSETS**2) / 2) / np.exp(-(OFFSETS**2) / 2).sum()


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer with more dead units than chance explains."""
    over = [(layer, severity) for layer in network.layers if (severity := _severity(layer)) is not None]
    severe = [layer for layer, severity in over if severity == "error"]
    layers = severe or [layer for layer, _ in over]
    if layers and (activation := layers[0].activation) is not None:
        yield _finding(layers, activation, "error" if severe else "warning")


def _severity(layer: LayerRecord) -> Severity | None:
    activation = layer.activation
    if activation is None or activation.dead is None or (layer.input is not None and layer.input.spread == 0):
        return None
    expected = expected_share(activation)
    excess = activation.dead - expected - SIGMAS * math.sqrt(expected * (1 - expected) / activation.units)
    if (excess > ERROR and activation.dead > 0.5) or (excess > WARNING and activation.dead == 1):
        return "error"
    return "warning" if excess > WARNING or activation.dead == 1 else None


def _finding(layers: list[LayerRecord], activation: Activation, severity: Severity) -> Finding:
    first, dead, expected = layers[0], activation.dead or 0.0, expected_share(activation)
    units = f"All {activation.units} units" if dead == 1 else f"{dead:.0%} of the {activation.units} units"
    return Finding(
        RULE,
        severity,
        first.name,
        {"dead": dead, "expected": expected, "units": activation.units},
        f"{units} of {called(first.name)} are zero for every sample, where chance explains {expected:.0%}: they get no "
        "gradient and cannot recover.",
        "Draw the weights again with biases at zero, lower the learning rate, or put a BatchNorm before the "
        "activation.",
        names(layers),
    )


def expected_share(activation: Activation) -> float:
    """Share of units that chance silences on this many samples, from the variances within and between units."""
    pre = activation.input
    within = pre.spread or 0.0
    if within == 0:
        return 0.5
    between = math.sqrt(max(0.0, pre.std**2 - within**2))
    silent = ndtr(-OFFSETS * between / within)
    return float(DENSITY @ silent ** min(pre.samples, INDEPENDENT_SAMPLES))
