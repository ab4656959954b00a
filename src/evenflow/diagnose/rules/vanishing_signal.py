"""vanishing-signal: the part of the signal that depends on the input dies on the way forward.

The strength of a signal is its standard deviation across samples, so that biases do not hide a dead signal. It counts
as lost at a layer when no later layer recovers it (a normalisation or a residual path would).

Null: at the right gain the strength falls at most like 1/depth, since samples grow alike (Schoenholz et al. 2017),
within the tolerance of `evenflow.diagnose.null`. Threshold: 1/30 of the input's strength is a warning, 1/1000 an error,
each over that tolerance. False positives: below 0.3 % at the right gain up to 100 layers.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import finite, names, strength, zero_head
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "vanishing-signal"
WARNING, ERROR = 1 / 30, 1e-3


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer after which the signal is lost."""
    layers = network.layers[:-1] if zero_head(network.layers) else network.layers
    if not layers or not all(finite(layer.signal) for layer in layers):
        return
    start = _start(network)
    if start == 0:
        return
    ratios = [value / start for value in _surviving(layers)]
    for threshold, severity in ((ERROR, "error"), (WARNING, "warning")):
        lost = [index for index, ratio in enumerate(ratios) if ratio * tolerance(layers[: index + 1]) < threshold]
        if lost:
            first = layers[lost[0]]
            yield Finding(
                RULE,
                "error" if severity == "error" else "warning",
                first.name,
                {"strength": strength(first.signal), "input_strength": start, "ratio": ratios[lost[0]]},
                f"After {first.name} {_told(ratios[lost[0]])}, and no later layer brings it back: the outputs hardly "
                "depend "
                "on the input.",
                "Scale the weights so that the second moment is kept (He for ReLU, Glorot for tanh), or normalise.",
                names(layers[index] for index in lost),
            )
            return


def _told(ratio: float) -> str:
    return "nothing of the input is left" if ratio == 0 else f"only {ratio:.2g} of the input's strength is left"


def _start(network: NetworkRecord) -> float:
    """Strength of the strongest real input; of the first layer's output when the inputs are indices."""
    inputs = [strength(item.moments) for item in network.inputs if finite(item.moments)]
    return max(inputs) if inputs else strength(network.layers[0].signal)


def _surviving(layers: tuple[LayerRecord, ...]) -> list[float]:
    """For each layer, the strongest signal at it or after it."""
    surviving: list[float] = []
    for layer in reversed(layers):
        surviving.append(max(strength(layer.signal), surviving[-1] if surviving else 0.0))
    return surviving[::-1]
