"""exploding-signal: the signal grows on the way forward until it overflows, or drowns what it is added to.

Null: at the right gain the root mean square keeps its size within the tolerance of `evenflow.diagnose.null`. Threshold:
30 times the input's root mean square at a layer and ever after is a warning, 1,000 times an error, each over that
tolerance. Growth that a later normalisation takes back does not count. False positives: below 0.3 % at the right gain.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import finite, names
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "exploding-signal"
WARNING, ERROR = 30.0, 1e3


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer after which the signal stays too large."""
    layers = tuple(layer for layer in network.layers if finite(layer.signal))
    inputs = [item.moments.rms for item in network.inputs if finite(item.moments)]
    start = max(1.0, *inputs) if inputs else 1.0
    ratios = [value / start for value in _lasting(layers)]
    limits = [tolerance(layers[: index + 1]) for index in range(len(layers))]
    for threshold, severe in ((ERROR, True), (WARNING, False)):
        over = [i for i, ratio in enumerate(ratios) if ratio > threshold * limits[i]]
        if over:
            first = layers[over[0]]
            yield Finding(
                RULE,
                "error" if severe else "warning",
                first.name,
                {"rms": first.signal.rms, "input_rms": start, "ratio": ratios[over[0]]},
                f"From {first.name} on the signal is at least {ratios[over[0]]:.2g} times as large as the input (rms "
                f"{first.signal.rms:.3g} after it).",
                "Scale the weights so that the second moment is kept (He for ReLU, Glorot for tanh), or normalise.",
                names(layers[i] for i in over),
            )
            return


def _lasting(layers: tuple[LayerRecord, ...]) -> list[float]:
    """For each layer, the smallest root mean square at it or after it."""
    lasting: list[float] = []
    for layer in reversed(layers):
        lasting.append(min(layer.signal.rms, lasting[-1] if lasting else layer.signal.rms))
    return lasting[::-1]
