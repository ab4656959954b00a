"""gain-mismatch: weights whose scale does not fit the activation that follows, and whose error adds up over depth.

A layer multiplies the root mean square of what it reads by `std(w) * sqrt(fan_in)`. The activation takes back a known
factor, so the product should be the activation's gain: sqrt(2) for ReLU (He et al. 2015, equation 10), about 1 to 5/3
for tanh (Glorot & Bengio 2010). What is missing or too much multiplies from layer to layer along the data's path; a
normalisation ends it, and a residual branch has a way around it. Both are taken of the part of the signal that varies
across samples, so that biases do not hide the fault.

Null: with the right gain the product of the layers' errors stays within the tolerance of `evenflow.diagnose.null`.
Threshold: a compound factor of 3 is a note, 10 a warning, 100 an error, each beyond that tolerance. Both the weight's
own scale and the measured ratio of output to input must be off, so that padding or trained structure does not count.
False positives: below 0.3 % for a network at its right gain, from the three standard deviations of the tolerance.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import finite, names, strength
from evenflow.probe import LayerRecord, NetworkRecord
from evenflow.theory import gain

RULE = "gain-mismatch"
NOTE, WARNING, ERROR = 3.0, 10.0, 100.0
OWN = 1.1
BOUNDED = {"tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid", "erf", "sin", "relu6"}


@dataclass(frozen=True, slots=True)
class Drift:
    """The logarithm of the error that has added up on the way to a layer's output, and the layer's own part in it.

    `weights` is the error of the weights alone, `own` what both they and the batch show.
    """

    layer: LayerRecord
    weights: float
    own: float
    total: float
    measured: float
    wanted: float


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer whose weights have the wrong scale, when the error adds up to something."""
    drifts = list(_drifts(network.layers))
    if not drifts:
        return
    worst = max(drifts, key=lambda drift: abs(drift.total))
    compound = math.exp(abs(worst.total)) / tolerance(network.layers[: worst.layer.index + 1])
    severity = _severity(compound)
    sign = math.copysign(1, worst.total)
    seen = [drift for drift in drifts if drift.own * sign > math.log(OWN)]
    if severity is None or not seen:
        return
    first = seen[0]
    guilty = [drift for drift in drifts if drift.weights * sign > math.log(OWN)]
    activation = first.layer.activation.name if first.layer.activation else "a linear layer"
    weight = first.layer.weight
    small = worst.total < 0
    yield Finding(
        RULE,
        severity,
        first.layer.name,
        {
            "gain": first.measured,
            "wanted_gain": first.wanted,
            "compound": math.exp(worst.total),
            "weight_rms": weight.rms if weight else math.nan,
        },
        f"The weights of {first.layer.name} multiply the signal by {first.measured:.3g}, where {activation} wants "
        f"{first.wanted:.3g}: too {'small' if small else 'large'}. Over {len(guilty)} such layers it adds up to a "
        "factor of "
        f"{math.exp(worst.total):.2g}.",
        f"Draw the weights by the rule of the activation ({rule_for(first.layer)}).",
        names(drift.layer for drift in guilty),
    )


def rule_for(layer: LayerRecord) -> str:
    """The name of the initialisation rule for a layer, for a reader."""
    name = layer.activation.name if layer.activation else "linear"
    if name in ("relu", "leaky_relu", "prelu", "relu6"):
        return "He"
    return "LeCun" if name in ("selu", "linear") else "Glorot" if name in BOUNDED else "variance scaling"


def allowed_gain(layer: LayerRecord) -> tuple[float, float]:
    """The interval of gains that suit the activation of a layer."""
    if layer.activation is None:
        return 1.0, 1.0
    name, param = layer.activation.name, layer.activation.param
    exact = gain(name, param).forward
    usual = 1.0 if name in BOUNDED or name == "selu" else math.sqrt(2)
    if name in ("relu", "leaky_relu", "prelu"):
        return exact, exact
    return (min(usual, exact), max(5 / 3, exact)) if name in BOUNDED else (min(usual, exact), max(usual, exact))


def _drifts(layers: tuple[LayerRecord, ...]) -> Iterator[Drift]:
    totals: dict[int, float] = {}
    for layer in layers:
        arrived = min((totals.get(source, 0.0) for source in layer.sources), key=abs, default=0.0)
        measured = _measured(layer)
        last = layer.index == layers[-1].index
        if measured is None or layer.bypassed or layer.normalised or (last and layer.activation is None):
            totals[layer.index] = 0.0 if layer.role == "norm" or layer.normalised else arrived
            continue
        low, high = allowed_gain(layer)
        errors = [_outside(value, low, high) for value in measured]
        own = min(errors, key=abs)
        totals[layer.index] = arrived + own
        shown, wanted = measured[0], low if measured[0] < low else high
        yield Drift(layer, errors[0], own, totals[layer.index], shown, wanted)


def _measured(layer: LayerRecord) -> tuple[float, float] | None:
    """The gain of the weights themselves, and the gain that the batch met; None where there is no telling."""
    weight = layer.weight
    if layer.role != "weight" or layer.fans is None or weight is None or layer.input is None:
        return None
    if weight.nonfinite or not finite(layer.input) or not finite(layer.output):
        return None
    read, given = strength(layer.input), strength(layer.output)
    if weight.rms == 0 or weight.distinct_rows == 1 or read == 0 or given == 0:
        return None
    return weight.rms * math.sqrt(layer.fans.fan_in), given / read


def _outside(value: float, low: float, high: float) -> float:
    return math.log(value / low) if value < low else math.log(value / high) if value > high else 0.0


def _severity(compound: float) -> Severity | None:
    if compound > ERROR:
        return "error"
    return "warning" if compound > WARNING else "note" if compound > NOTE else None
