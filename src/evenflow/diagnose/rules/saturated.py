"""saturated: units that sit on the plateau of their activation, where the derivative is almost zero.

A tanh counts as saturated when abs(tanh) > 0.97 (the threshold of Glorot & Bengio 2010, section 3), the others at the
same share of their range. The output of the network is exempt: a trained classifier is meant to be certain.

Null: normal pre-activations with a root mean square of 1.4, which put 14 % of a tanh on its plateau and 48 % of a
hardtanh; a batch of 16 samples and 16 units adds at most 10 % of sampling error at three standard deviations.
Threshold: 12 % more than that, and at least 25 %, is a warning; 37 % more, and at least 50 %, an error. False
positives: no warning in 200 draws of each healthy family of the tests.
"""

import math
from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import ends, names
from evenflow.diagnose.suitable import suitable_rule
from evenflow.probe import LayerRecord, NetworkRecord
from evenflow.probe.activations import PLATEAU

RULE = "saturated"
LARGEST_RMS = 1.4
WARNING, ERROR = (0.25, 0.12), (0.5, 0.37)


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer that saturates."""
    outputs = {layer.index for layer in ends(network.layers)}
    inner = [layer for layer in network.layers if layer.index not in outputs]
    strong = [layer for layer in inner if _exceeds(layer, *ERROR)]
    over = strong or [layer for layer in inner if _exceeds(layer, *WARNING)]
    if over:
        yield _finding(over[0], over, bool(strong))


def _exceeds(layer: LayerRecord, least: float, above_null: float) -> bool:
    activation = layer.activation
    if activation is None or activation.saturated is None:
        return False
    return activation.saturated > max(least, null_share(activation.name) + above_null)


def null_share(activation: str) -> float:
    """Share of normal pre-activations with the largest usual root mean square that lies on the plateau.

    Example:
        >>> round(null_share("tanh"), 2), round(null_share("hardtanh"), 2)
        (0.14, 0.48)
    """
    return math.erfc(PLATEAU.get(activation, math.inf) / LARGEST_RMS / math.sqrt(2))


def _finding(first: LayerRecord, layers: list[LayerRecord], severe: bool) -> Finding:
    activation = first.activation
    name, share = (activation.name, activation.saturated or 0.0) if activation else ("", 0.0)
    return Finding(
        RULE,
        "error" if severe else "warning",
        first.name,
        {"saturated": share, "preactivation_rms": first.output.rms},
        f"{share:.0%} of the {name} outputs of {called(first.name)} lie on the plateau (pre-activation rms "
        f"{first.output.rms:.3g}), where almost no gradient passes.",
        f"Use smaller weights ({suitable_rule(activation).title}), or a BatchNorm before the activation.",
        names(layers),
    )
