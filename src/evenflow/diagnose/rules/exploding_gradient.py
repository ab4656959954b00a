"""exploding-gradient: the gradient grows on the way back, so that no learning rate suits both ends of the network.

Measured as in vanishing-gradient, but for the positions: they only make a norm smaller. Null: at the right gain the
norm stays within the tolerance of `evenflow.diagnose.null`; batch normalisation with ReLU adds a factor of at most 1.21
a layer at initialisation (Yang et al. 2019), which is not a fault of the weights and is allowed for. Threshold: 30
times the norm at the last layer is a warning, 1,000 times an error, each over that tolerance. False positives: no
warning in 200 draws of each healthy family of the tests.
"""

from collections.abc import Iterator, Sequence

from evenflow.diagnose.finding import Finding, Severity
from evenflow.diagnose.naming import called
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import gradient, names, outputs_with_gradient
from evenflow.diagnose.suitable import suitable_rule
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "exploding-gradient"
THRESHOLDS: tuple[tuple[float, Severity], ...] = ((1e3, "error"), (30.0, "warning"))
NORMALISED_GROWTH = 1.21


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the layer nearest to the output from which the gradient is too large."""
    layers = [layer for layer in network.layers if gradient(layer) is not None]
    reference = max((_norm(layer) for layer in outputs_with_gradient(network.layers)), default=0.0)
    if reference == 0:
        return
    ratios = [_norm(layer) / reference for layer in layers]
    limits = [_limit(layers[index + 1 :]) for index in range(len(layers))]
    for threshold, severity in THRESHOLDS:
        over = [index for index, ratio in enumerate(ratios) if ratio > threshold * limits[index]]
        if over:
            yield _finding([layers[index] for index in over], [ratios[index] for index in over], severity)
            return


def _norm(layer: LayerRecord) -> float:
    return layer.gradient.norm if layer.gradient else 0.0


def _limit(after: Sequence[LayerRecord]) -> float:
    return tolerance(after) * NORMALISED_GROWTH ** sum(layer.role == "norm" for layer in after)


def _finding(over: Sequence[LayerRecord], ratios: Sequence[float], severity: Severity) -> Finding:
    nearest, largest = over[-1], max(range(len(over)), key=ratios.__getitem__)
    further = f" and {ratios[largest]:.2g} times at {called(over[largest].name)}" if largest < len(over) - 1 else ""
    return Finding(
        RULE,
        severity,
        nearest.name,
        {"ratio": ratios[-1], "largest_ratio": ratios[largest]},
        f"Going back from the output, the gradient has grown {ratios[-1]:.2g} times at {called(nearest.name)}"
        f"{further}: a step that suits one end of the network breaks the other.",
        f"Scale the weights by the rule of the activation ({suitable_rule(nearest.activation).title}).",
        names(reversed(over)),
    )
