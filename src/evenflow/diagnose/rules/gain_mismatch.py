"""gain-mismatch: weights whose scale does not fit the activation that follows, and whose error adds up over depth.

A layer multiplies the root mean square of what it reads by `std(w) * sqrt(fan_in)`. The activation takes back a known
factor, so the product should be the activation's gain: sqrt(2) for ReLU (He et al. 2015, equation 10), about 1 to 5/3
for tanh (Glorot & Bengio 2010). What is missing or too much multiplies from layer to layer along the data's path; a
normalisation ends it, and a residual branch has a way around it. A layer that nobody reads may be as small as it
likes. The batch must show the fault too, in the part of the signal that varies across samples, so that padding,
trained structure and biases neither make nor hide one.

Null: a weight of n random values has its right scale within `1 / sqrt(2 n)`. Threshold: a compound factor of 5 is a
note, 30 a warning, 300 an error, each beyond three of those standard deviations. The error is where training stops
working: of five ReLU networks of width 64 with torch's own initialisation, trained on the digits for ten epochs by SGD
(learning rate 0.1, momentum 0.9), four reach 94 % or more at a compound factor of 1/80 (6 layers), none more than 87 %
at 1/500 (8 layers), and none gets above chance at 1/3000 (10 layers). False positives: no warning in 200 draws of each
healthy family of the tests; torch's own small networks get the note.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import ends, finite, names, plain_weight, strength, weight_gain
from evenflow.diagnose.suitable import suitable_gains, suitable_rule
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "gain-mismatch"
NOTE, WARNING, ERROR = 5.0, 30.0, 300.0
OWN = 1.1
SIGMAS = 3.0
LARGEST_OF_AN_END = math.sqrt(2)


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a layer's gain is off, as a logarithm: negative when the weights are too small.

    `weights` is the error of the weights alone, `own` what both they and the batch show, `total` what has added up
    on the way to the layer's output.
    """

    layer: LayerRecord
    gain: float
    low: float
    high: float
    weights: float
    own: float
    total: float

    @property
    def compound(self) -> float:
        """The total as a factor, as far as a float reaches."""
        return math.exp(min(self.total, 700.0))


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer whose weights have the wrong scale, when the error adds up to something."""
    drifts = list(_drifts(network.layers))
    if not drifts:
        return
    worst = max(drifts, key=lambda drift: abs(drift.total))
    severity = _severity(abs(worst.total) - _sampling_error(drifts))
    if severity is None:
        return
    sign = math.copysign(1, worst.total)
    shown = [drift for drift in drifts if drift.own * sign > math.log(OWN)]
    share = max(math.log(OWN), abs(worst.total) / (2 * max(1, len(shown))))
    guilty = [drift for drift in drifts if drift.weights * sign > share]
    first = next((drift for drift in shown if drift.own * sign > share), None)
    if first is not None:
        yield _finding(first, guilty, worst, severity)


def _finding(first: Drift, guilty: list[Drift], worst: Drift, severity: Severity) -> Finding:
    weight = plain_weight(first.layer)
    rule = suitable_rule(first.layer.activation).title
    return Finding(
        RULE,
        severity,
        first.layer.name,
        {
            "gain": first.gain,
            "wanted_gain": first.low if first.weights < 0 else first.high,
            "compound": worst.compound,
            "weight_rms": weight.rms if weight else 0.0,
        },
        f"The weights of {called(first.layer.name)} multiply the signal by {first.gain:.3g}, where {_wanted(first)}: "
        f"too {'small' if worst.total < 0 else 'large'}.{_adds_up(guilty, worst)}",
        f"Draw the weights by the rule of the activation ({rule}).",
        names(drift.layer for drift in guilty),
    )


def _wanted(drift: Drift) -> str:
    if drift.low == 0:
        return f"a last layer wants {drift.high:.3g} or less"
    activation = drift.layer.activation.name if drift.layer.activation else "a linear layer"
    same = drift.high - drift.low < 0.005
    return f"{activation} wants {drift.high:.3g}" if same else f"{activation} wants {drift.low:.3g} to {drift.high:.3g}"


def _adds_up(guilty: list[Drift], worst: Drift) -> str:
    if len(guilty) < 2:
        return ""
    return f" Over {len(guilty)} such layers that adds up to a factor of {worst.compound:.2g}."


def _drifts(layers: tuple[LayerRecord, ...]) -> Iterator[Drift]:
    totals: dict[int, float] = {}
    last = {layer.index for layer in ends(layers) if layer.activation is None}
    for layer in layers:
        arrived = min((totals.get(source, 0.0) for source in layer.sources), key=abs, default=0.0)
        gain = _random_gain(layer)
        if gain is None or layer.bypassed or layer.normalised:
            totals[layer.index] = 0.0 if layer.role == "norm" or layer.normalised else arrived
            continue
        low, high = (0.0, LARGEST_OF_AN_END) if layer.index in last else suitable_gains(layer.activation)
        weights = _outside(gain, low, high)
        own = min(weights, _outside(_met(layer), low, high), key=abs)
        totals[layer.index] = arrived + own
        yield Drift(layer, gain, low, high, weights, own, totals[layer.index])


def _random_gain(layer: LayerRecord) -> float | None:
    """The gain of the weights; None where they are not random, which another rule tells."""
    weight = plain_weight(layer)
    return None if weight is None or weight.rms == 0 or weight.distinct_rows == 1 else weight_gain(layer)


def _met(layer: LayerRecord) -> float | None:
    """The gain that the batch met; None where its signal does not tell."""
    if layer.input is None or not finite(layer.input) or not finite(layer.output):
        return None
    read, given = strength(layer.input), strength(layer.output)
    return given / read if read and given else None


def _outside(value: float | None, low: float, high: float) -> float:
    if value is None:
        return 0.0
    return math.log(value / low) if value < low else math.log(value / high) if value > high else 0.0


def _sampling_error(drifts: list[Drift]) -> float:
    """Three standard deviations of the logarithm of the product of all scales, by the number of weights behind each."""
    weights = [plain_weight(drift.layer) for drift in drifts]
    return SIGMAS * math.sqrt(sum(1 / (2 * math.prod(weight.shape)) for weight in weights if weight))


def _severity(total: float) -> Severity | None:
    if total > math.log(ERROR):
        return "error"
    return "warning" if total > math.log(WARNING) else "note" if total > math.log(NOTE) else None
