"""vanishing-signal: the part of the signal that depends on the input dies on the way forward.

The strength of a signal is its standard deviation across samples, so that biases do not hide a dead signal. It counts
as lost at a layer when no later layer recovers it (a normalisation or a residual path would). It is compared with the
input's, or with 1 where a bounded activation can carry no more. The last layer may start as small as it likes: what
counts is what it reads. The gates of a recurrent layer start half closed and its states small: behind one, 1/30 of the
strength is usual, and the thresholds are lower by that.

Null: at the right gain the strength falls at most like 1/depth, since samples grow alike (Schoenholz et al. 2017),
within the tolerance of `evenflow.diagnose.null`. Threshold: 1/30 of the input's strength is a warning, 1/1000 an error,
each over that tolerance. False positives: no warning in 200 draws of each healthy family of the tests.
"""

from collections.abc import Iterator, Sequence

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.naming import called
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import ends, finite, names, strength
from evenflow.diagnose.suitable import BOUNDED, suitable_rule
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "vanishing-signal"
RECURRENT = ("LSTM", "GRU", "RNN")
HALF_CLOSED = 30.0
THRESHOLDS: tuple[tuple[float, Severity], ...] = ((1e-3, "error"), (1 / 30, "warning"))


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer after which the signal is lost."""
    heads = [layer for layer in ends(network.layers) if layer.role == "weight"]
    layers = [layer for layer in network.layers if layer not in heads]
    if not layers or not all(finite(layer.signal) for layer in layers):
        return
    start = _start(network, layers)
    if start == 0:
        return
    ratios = [value / start for value in _surviving(layers, heads)]
    for threshold, severity in THRESHOLDS:
        lost = [i for i, ratio in enumerate(ratios) if ratio * _allowance(layers[: i + 1]) < threshold]
        if lost:
            yield _finding([layers[index] for index in lost], start, ratios[lost[0]], severity)
            return


def _allowance(layers: Sequence[LayerRecord]) -> float:
    recurrent = any(layer.kind.startswith(RECURRENT) for layer in layers)
    return tolerance(layers) * (HALF_CLOSED if recurrent else 1.0)


def _finding(lost: list[LayerRecord], start: float, ratio: float, severity: Severity) -> Finding:
    first = lost[0]
    left = "nothing of the input is left" if ratio == 0 else f"only {ratio:.2g} of the input's strength is left"
    return Finding(
        RULE,
        severity,
        first.name,
        {"strength": strength(first.signal), "input_strength": start, "ratio": ratio},
        f"After {called(first.name)} {left}, and no later layer brings it back: the outputs hardly depend on the "
        "input.",
        _remedy(first),
        names(lost),
    )


def _remedy(first: LayerRecord) -> str:
    if first.activation is not None and first.activation.name == "sigmoid":
        return "Put a BatchNorm before each activation, or use tanh: no weights carry a signal through many sigmoids."
    title = suitable_rule(first.activation).title
    return f"Scale the weights by the rule of the activation ({title}), which keeps the signal's size, or normalise."


def _start(network: NetworkRecord, layers: Sequence[LayerRecord]) -> float:
    """Strength of the strongest real input, as far as the activations can carry it.

    It is that of the first layer's output when the inputs are indices.
    """
    inputs = [strength(item.moments) for item in network.inputs if finite(item.moments)]
    start = max(inputs) if inputs else strength(layers[0].signal)
    bounded = any(layer.activation is not None and layer.activation.name in BOUNDED for layer in layers)
    return min(start, 1.0) if bounded else start


def _surviving(layers: Sequence[LayerRecord], heads: Sequence[LayerRecord]) -> list[float]:
    """For each layer, the strongest signal at it, after it, or where a head reads."""
    strongest = max((strength(head.input) for head in heads if head.input and finite(head.input)), default=0.0)
    surviving: list[float] = []
    for layer in reversed(layers):
        strongest = max(strongest, strength(layer.signal))
        surviving.append(strongest)
    return surviving[::-1]
