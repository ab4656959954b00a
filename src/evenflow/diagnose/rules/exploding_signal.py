"""exploding-signal: the signal grows on the way forward until it overflows, or drowns what it is added to.

Null: at the right gain the root mean square keeps its size within the tolerance of `evenflow.diagnose.null`. Threshold:
30 times the input's root mean square at a layer and ever after is a warning, 1,000 times an error, each over that
tolerance. Growth that a later normalisation takes back does not count; a small last layer takes back none. False
positives: no warning in 200 draws of each healthy family of the tests.
"""

from collections.abc import Iterator, Sequence

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.naming import called
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import ends, finite, names
from evenflow.diagnose.suitable import suitable_rule
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "exploding-signal"
THRESHOLDS: tuple[tuple[float, Severity], ...] = ((1e3, "error"), (30.0, "warning"))


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer after which the signal stays too large."""
    layers = [layer for layer in network.layers if finite(layer.signal)]
    heads = {layer.index for layer in ends(network.layers) if layer.role == "weight"}
    start = max([1.0, *(item.moments.rms for item in network.inputs if finite(item.moments))])
    ratios = [value / start for value in _lasting(layers, heads)]
    for threshold, severity in THRESHOLDS:
        over = [i for i, ratio in enumerate(ratios) if ratio > threshold * tolerance(layers[: i + 1])]
        if over:
            yield _finding([layers[index] for index in over], start, ratios[over[0]], severity)
            return


def _finding(over: list[LayerRecord], start: float, ratio: float, severity: Severity) -> Finding:
    first = over[0]
    title = suitable_rule(first.activation).title
    return Finding(
        RULE,
        severity,
        first.name,
        {"rms": first.signal.rms, "input_rms": start, "ratio": ratio},
        f"From {called(first.name)} on the signal is at least {ratio:.2g} times as large as the input (its rms is "
        f"{first.signal.rms:.3g} there).",
        f"Scale the weights by the rule of the activation ({title}), which keeps the signal's size, or normalise.",
        names(over),
    )


def _lasting(layers: Sequence[LayerRecord], heads: set[int]) -> list[float]:
    """For each layer, the smallest root mean square at it or after it; of a head, its own alone."""
    lasting: list[float] = []
    smallest = float("inf")
    for layer in reversed(layers):
        if layer.index in heads:
            lasting.append(layer.signal.rms)
            continue
        smallest = min(smallest, layer.signal.rms)
        lasting.append(smallest)
    return lasting[::-1]
