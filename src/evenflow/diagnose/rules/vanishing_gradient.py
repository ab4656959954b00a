"""vanishing-gradient: the gradient dies on the way back, so that the first layers do not learn.

What counts is the norm of one sample's gradient with respect to a layer's output, which weights of variance 1/fan_in
keep whatever the widths. A gradient has vanished at a layer when neither it nor any earlier layer gets a normal one: a
residual branch that starts at zero is no fault.

Null: at the right gain the norm stays within the tolerance of `evenflow.diagnose.null`. Threshold: 1/30 of the norm at
the last layer is a warning, 1/1000 an error, each over that tolerance. A last layer of zero weights passes nothing in
the first step and learns all the same: a note. False positives: below 0.3 % at the right gain.
"""

from collections.abc import Iterator, Sequence

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import gradient, names, zero_head
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "vanishing-gradient"
WARNING, ERROR = 1 / 30, 1e-3


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the layer nearest to the output where the gradient is lost."""
    layers = [layer for layer in network.layers if layer.gradient is not None]
    if len(layers) < 2 or any(gradient(layer) is None for layer in layers):
        return
    norms = [layer.gradient.norm for layer in layers if layer.gradient]
    reference = norms[-1]
    if reference == 0:
        return
    head = zero_head(network.layers)
    if head is not None and max(norms[:-1]) == 0:
        yield _waiting(head)
        return
    ratios = [max(norms[: index + 1]) / reference for index in range(len(norms))]
    for threshold, severe in ((ERROR, True), (WARNING, False)):
        lost = [i for i, ratio in enumerate(ratios) if ratio * tolerance(layers[i + 1 :]) < threshold]
        if lost:
            yield _finding(layers, ratios, lost, severe)
            return


def _finding(layers: Sequence[LayerRecord], ratios: list[float], lost: list[int], severe: bool) -> Finding:
    nearest, first = layers[lost[-1]], layers[0]
    return Finding(
        RULE,
        "error" if severe else "warning",
        nearest.name,
        {"ratio": ratios[lost[-1]], "first_ratio": ratios[0]},
        f"Going back from the output, {_told(nearest, ratios[lost[-1]], first, ratios[0])}: these layers hardly learn.",
        "Scale the weights by the rule of the activation; with sigmoid in a deep network put a BatchNorm before it.",
        names(layers[index] for index in reversed(lost)),
    )


def _told(nearest: LayerRecord, ratio: float, first: LayerRecord, first_ratio: float) -> str:
    if ratio == 0:
        return f"no gradient reaches {nearest.name} or any layer before it"
    there = "" if nearest is first else f" and to {first_ratio:.2g} at {first.name}"
    return f"the gradient has shrunk to {ratio:.2g} of its size at {nearest.name}{there}"


def _waiting(head: LayerRecord) -> Finding:
    return Finding(
        RULE,
        "note",
        head.name,
        {"ratio": 0.0},
        f"{head.name} starts at zero, so no gradient passes it in the first step; from the second step on it does.",
        "Nothing, if that is meant; otherwise draw its weights at random.",
        (head.name,),
    )
