"""vanishing-gradient: the gradient dies on the way back, so that the first layers do not learn.

What counts is the norm of one sample's gradient with respect to a layer's output, which weights of variance 1/fan_in
keep whatever the widths. An average over P positions, as after a convolution, takes sqrt(P) from the norm and nothing
from what is learnt, and is not counted; nor is what a last layer of small weights takes away. A gradient has vanished
at a layer when neither it nor any earlier layer gets a normal one: a residual branch that starts at zero is no fault.

Null: at the right gain the norm stays within the tolerance of `evenflow.diagnose.null`. Threshold: 1/30 of the norm at
the last layer is a warning, 1/1000 an error, each over that tolerance. A last layer of zero weights passes nothing in
the first step and learns all the same: a note. False positives: no warning in 200 draws of each healthy family of the
tests.
"""

import math
from collections.abc import Iterator, Sequence

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.naming import called
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import (
    gradient,
    names,
    outputs_with_gradient,
    positions,
    weight_gain,
    zero_head,
)
from evenflow.diagnose.suitable import suitable_rule
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "vanishing-gradient"
THRESHOLDS: tuple[tuple[float, Severity], ...] = ((1e-3, "error"), (1 / 30, "warning"))


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the layer nearest to the output where the gradient is lost."""
    layers = [layer for layer in network.layers if layer.gradient is not None]
    if len(layers) < 2 or any(gradient(layer) is None for layer in layers):
        return
    norms = [_norm(layer) for layer in layers]
    head = zero_head(network.layers)
    if head is not None and max(norms[:-1]) == 0:
        yield _waiting(head)
        return
    reference = _reference(network.layers)
    if reference == 0:
        return
    ratios = [max(norms[: index + 1]) / reference for index in range(len(norms))]
    for threshold, severity in THRESHOLDS:
        lost = [
            index
            for index, layer in enumerate(layers)
            if not layer.bypassed and ratios[index] * tolerance(layers[index + 1 :]) < threshold
        ]
        if lost:
            yield _finding([layers[index] for index in lost], [ratios[index] for index in lost], severity)
            return


def _norm(layer: LayerRecord) -> float:
    return layer.gradient.norm * math.sqrt(positions(layer)) if layer.gradient else 0.0


def _reference(layers: Sequence[LayerRecord]) -> float:
    """The largest gradient at an output, as far as the weights of that layer let it pass."""
    outputs = outputs_with_gradient(layers)
    return max((_norm(layer) * min(1.0, _passing(layer)) for layer in outputs), default=0.0)


def _passing(layer: LayerRecord) -> float:
    """The factor of a layer's weights; 1 where they are zero, since what stops there is lost."""
    return weight_gain(layer) or 1.0


def _finding(lost: Sequence[LayerRecord], ratios: Sequence[float], severity: Severity) -> Finding:
    nearest = lost[-1]
    return Finding(
        RULE,
        severity,
        nearest.name,
        {"ratio": ratios[-1], "first_ratio": ratios[0]},
        f"Going back from the output, {_told(lost, ratios)}.",
        _remedy(nearest),
        names(reversed(lost)),
    )


def _told(lost: Sequence[LayerRecord], ratios: Sequence[float]) -> str:
    nearest, first = called(lost[-1].name), called(lost[0].name)
    before = " or any layer before it" if len(lost) > 1 else ""
    if ratios[-1] == 0:
        return f"no gradient reaches {nearest}{before}, so {'these layers do' if before else 'it does'} not learn"
    shrunk = f"the gradient has shrunk to {ratios[-1]:.2g} of its size at {nearest}"
    if len(lost) == 1:
        return f"{shrunk}, which hardly learns"
    if ratios[0] < ratios[-1] / 2:
        return f"{shrunk} and to {ratios[0]:.2g} at {first}, so these layers hardly learn"
    return f"{shrunk} and stays so small, so this layer and those before it hardly learn"


def _remedy(nearest: LayerRecord) -> str:
    if nearest.activation is not None and nearest.activation.name == "sigmoid":
        return (
            "Put a BatchNorm before each activation, or use tanh: a sigmoid passes a quarter of the gradient at best."
        )
    return f"Scale the weights by the rule of the activation ({suitable_rule(nearest.activation).title})."


def _waiting(head: LayerRecord) -> Finding:
    return Finding(
        RULE,
        "note",
        head.name,
        {"ratio": 0.0},
        f"The weights of {called(head.name)} start at zero, so no gradient passes them in the first step; from the "
        "second step on it does.",
        "Nothing, if that is meant; otherwise draw its weights at random.",
        (head.name,),
    )
