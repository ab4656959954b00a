"""From findings to a prescription: which remedy for which layers.

Weights come first, since a wrong scale is both the commonest cause and the cheapest cure. Where the weights are right
and the signal still dies (sigmoid in a deep network), a BatchNorm before each activation. Where neither can help
(recurrence), clip. What only the user can change, such as the data, is said as advice. Frozen weights, and weights that
are computed from others, stay as they are.
"""

from collections.abc import Iterator, Sequence

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.rules.reading import plain_weight, weight_gain
from evenflow.diagnose.suitable import suitable_rule
from evenflow.diagnose.treat import (
    ClipGradNorm,
    InsertBatchNorm,
    Prescription,
    Redraw,
    Reinitialize,
    Remedy,
    StandardizeInput,
)
from evenflow.probe import LayerRecord, NetworkRecord

# The threshold of Pascanu et al. (2013), section 3.2, who found that it matters little between 0.5 and 10 times the
# usual norm; most training scripts have settled on 1.
MAX_NORM = 1.0

# A head whose gain is above LeCun's 1 by more than this can make a loss smaller by weights of its own.
HEAD_GAIN = 1.2

# More sigmoids in a row than this lose the gradient whatever the weights: a slope of at most 1/4 each.
SIGMOIDS = 4

# Faults of the weights wherever they are found, and those that are so when nothing else explains them.
WEIGHTS = {"symmetric", "gain-mismatch"}
WEIGHTS_AS_ROOT = {"dead", "saturated"}
PROPAGATION = {
    "saturated", "dead", "exploding-signal", "vanishing-signal", "exploding-gradient", "vanishing-gradient",
}  # fmt: skip
INSERTABLE = {"Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"}


def prescribe(network: NetworkRecord, findings: Sequence[Finding]) -> Prescription:
    """Choose the remedies for errors and warnings, and for notes that explain one."""
    explained = {finding.cause for finding in findings if finding.severity != "note"}
    serious = [finding for finding in findings if finding.severity != "note" or finding.rule in explained]
    return Prescription(tuple(_remedies(network, serious)))


def _remedies(network: NetworkRecord, findings: Sequence[Finding]) -> Iterator[Remedy]:
    rules = {finding.rule for finding in findings}
    real = network.inputs[0].moments if network.inputs else None
    if "input-scale" in rules and real is not None and real.std > 0:
        yield StandardizeInput(real.mean, real.std)
    draws = _draws(network, findings)
    if draws:
        yield Reinitialize(draws)
    opaque = {layer.name for layer in network.layers if layer.role == "opaque"}
    inside = [f for f in findings if f.rule == "exploding-gradient" and f.layer in opaque]
    lost = [f for f in findings if _is_unexplained(f) and f not in inside]
    places = _places(network) if (lost and not draws) or _needs_norm(network, rules) else ()
    if places:
        yield InsertBatchNorm(places)
    if inside or (any(f.rule == "exploding-gradient" for f in lost) and not draws and not places):
        yield ClipGradNorm(MAX_NORM)


def _is_unexplained(finding: Finding) -> bool:
    """Whether a signal or gradient is lost for no reason that has been found."""
    wrong = finding.rule in PROPAGATION or (finding.rule == "loss-at-start" and finding.severity == "error")
    return wrong and finding.cause is None


def _draws(network: NetworkRecord, findings: Sequence[Finding]) -> tuple[Redraw, ...]:
    """How the weights that are to blame are drawn again, each once."""
    chosen = set(_to_blame(network, findings))
    draws: dict[str, Redraw] = {}
    for layer in network.layers:
        weight = plain_weight(layer)
        if layer.name in chosen and layer.role == "weight" and weight is not None and weight.trainable:
            draw = _redraw(layer)
            if draw is not None:
                draws.setdefault(weight.name, draw)
    return tuple(draws.values())


def _to_blame(network: NetworkRecord, findings: Sequence[Finding]) -> Iterator[str]:
    """Names of the layers whose weights are to blame."""
    rules = {finding.rule for finding in findings}
    for finding in findings:
        root = finding.cause is None
        broken = finding.rule == "non-finite" and finding.evidence.get("where") == "parameters"
        if broken or finding.rule in WEIGHTS or (finding.rule in WEIGHTS_AS_ROOT and root):
            yield from finding.layers
        if finding.rule == "loss-at-start" and root:
            yield from (layer.name for layer in network.layers[-1:] if (weight_gain(layer) or 0.0) > HEAD_GAIN)
    if rules & (PROPAGATION | WEIGHTS):
        yield from (layer.name for layer in network.layers if _is_constant(layer, zero="symmetric" in rules))


def _is_constant(layer: LayerRecord, *, zero: bool) -> bool:
    """Whether all rows are one row: as a head it lets no gradient through, since that of a softmax adds up to zero.

    A head of zeros alone is meant, and one step gives it rows.
    """
    weight = plain_weight(layer)
    if weight is None or weight.distinct_rows != 1 or (weight.rows or 0) < 2 or layer.bypassed:
        return False
    return zero or weight.rms > 0


def _redraw(layer: LayerRecord) -> Redraw | None:
    weight, fans = plain_weight(layer), layer.fans
    if weight is None or fans is None or min(fans) <= 0:
        return None
    rule = suitable_rule(layer.activation)
    bias = next((p.name for p in layer.parameters if p.rows is None and p.trainable and p.name.endswith("bias")), None)
    return Redraw(weight.name, rule.function, fans.fan_in, fans.fan_out, rule.options, bias)


def _needs_norm(network: NetworkRecord, rules: set[str]) -> bool:
    """Whether no weights can save the gradient: a deep chain of sigmoids."""
    sigmoids = [layer for layer in network.layers if layer.activation and layer.activation.name == "sigmoid"]
    return "vanishing-gradient" in rules and len(sigmoids) > SIGMOIDS


def _places(network: NetworkRecord) -> tuple[str, ...]:
    """Layers whose activation has no normalisation before it, once each, with outputs of shape (N, C) or (N, C, *)."""
    if network.samples < 2:
        return ()
    return tuple(dict.fromkeys(layer.name for layer in network.layers if _takes_norm(layer)))


def _takes_norm(layer: LayerRecord) -> bool:
    weight = plain_weight(layer)
    learns = weight is not None and weight.trainable
    fits = layer.kind in INSERTABLE and (layer.kind != "Linear" or len(layer.output.shape) == 2)
    return fits and learns and layer.activation is not None and not layer.normalised
