"""From findings to a prescription: which remedy for which layers.

Weights come first, since a wrong scale is both the commonest cause and the cheapest cure. Where the weights are right
and the signal still dies (sigmoid in a deep network), a BatchNorm before each activation. Where neither can help
(recurrence), clip. What only the user can change, such as the data, is said as advice.
"""

import math
from collections.abc import Iterator, Sequence

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.rules.gain_mismatch import BOUNDED, allowed_gain
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

REDRAWN = {"symmetric", "gain-mismatch", "non-finite"}
PROPAGATION = {
    "saturated", "dead", "exploding-signal", "vanishing-signal", "exploding-gradient", "vanishing-gradient",
}  # fmt: skip
INSERTABLE = {"Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"}


def prescribe(network: NetworkRecord, findings: Sequence[Finding]) -> Prescription:
    """Choose the remedies for findings that are errors or warnings; notes need none."""
    serious = [finding for finding in findings if finding.severity != "note"]
    return Prescription(tuple(_remedies(network, serious)))


def _remedies(network: NetworkRecord, findings: Sequence[Finding]) -> Iterator[Remedy]:
    rules = {finding.rule for finding in findings}
    if "input-scale" in rules:
        real = network.inputs[0].moments
        yield StandardizeInput(real.mean, real.std or 1.0)
    named = [name for finding in findings if finding.rule in REDRAWN for name in finding.layers]
    if rules & (PROPAGATION | {"symmetric"}):
        named += _constant(network)
    draws = _draws(network, named, {f.layer for f in findings if f.rule == "loss-at-start"})
    if draws:
        yield Reinitialize(draws)
    propagation = rules & PROPAGATION
    unexplained = [f for f in findings if f.rule in PROPAGATION and f.cause not in ("input-scale", *REDRAWN)]
    places = _insertable(network) if (propagation and not draws and unexplained) or _needs_norm(network, rules) else ()
    if places:
        yield InsertBatchNorm(places)
    elif "exploding-gradient" in rules and not draws:
        yield ClipGradNorm(MAX_NORM)


def _constant(network: NetworkRecord) -> list[str]:
    """Layers of one repeated row: as a head they let no gradient through, since that of a softmax adds up to zero."""
    weights = [(layer.name, layer.weight) for layer in network.layers if layer.role == "weight"]
    return [name for name, weight in weights if weight and weight.distinct_rows == 1 and (weight.rows or 0) > 1]


def _draws(network: NetworkRecord, named: Sequence[str], heads: set[str]) -> tuple[Redraw, ...]:
    """Redraw what was named; the head too when the loss starts too high and its own weights are to blame."""
    chosen = set(named)
    last = network.layers[-1] if network.layers else None
    if last is not None and last.name in heads and _gain_of(last) > math.sqrt(2):
        chosen.add(last.name)
    draws: dict[str, Redraw] = {}
    for layer in network.layers:
        if layer.name in chosen and layer.role == "weight" and layer.weight is not None and layer.fans is not None:
            draws.setdefault(layer.weight.name, _redraw(layer))
    return tuple(draws.values())


def _gain_of(layer: LayerRecord) -> float:
    return 0.0 if layer.weight is None or layer.fans is None else layer.weight.rms * math.sqrt(layer.fans.fan_in)


def _redraw(layer: LayerRecord) -> Redraw:
    rule, options = rule_of(layer)
    weight = layer.weight
    assert weight is not None and layer.fans is not None  # noqa: PT018
    bias = next((p.name for p in layer.parameters if p.rows is None and p.name.endswith("bias")), None)
    return Redraw(weight.name, rule, layer.fans.fan_in, layer.fans.fan_out, options, bias)


def rule_of(layer: LayerRecord) -> tuple[str, dict[str, float]]:
    """The function of `evenflow.init` for the activation that follows a layer, and its options.

    Without an activation a layer gets LeCun's rule, which keeps the second moment of a linear map; a network's last
    layer too.
    """
    if layer.activation is None:
        return "lecun_normal_", {}
    name, param = layer.activation.name, layer.activation.param
    if name == "relu":
        return "he_normal_", {}
    if name in ("leaky_relu", "prelu"):
        return "he_normal_", {"slope": param or 0.0}
    if name in BOUNDED:
        return "glorot_normal_", {}
    if name == "selu":
        return "lecun_normal_", {}
    return "variance_scaling_", {"scale": allowed_gain(layer)[0] ** 2}


def _needs_norm(network: NetworkRecord, rules: set[str]) -> bool:
    """Whether no weights can save the gradient: a deep chain of sigmoids, whose slope is at most 1/4."""
    chained = [layer for layer in network.layers if layer.activation and layer.activation.name == "sigmoid"]
    return "vanishing-gradient" in rules and len(chained) > 4


def _insertable(network: NetworkRecord) -> tuple[str, ...]:
    """Modules whose activation has no normalisation before it, once each, with outputs of shape (N, C) or (N, C, *)."""
    return tuple(
        dict.fromkeys(
            layer.name
            for layer in network.layers
            if layer.kind in INSERTABLE
            and layer.activation is not None
            and not layer.normalised
            and (layer.kind != "Linear" or len(layer.output.shape) == 2)
        )
    )
