"""exploding-gradient: the gradient grows on the way back, so that no learning rate suits both ends of the network.

Measured as in vanishing-gradient. Null: at the right gain the norm stays within the tolerance of
`evenflow.diagnose.null`; batch normalisation with ReLU adds a factor of at most 1.21 a layer at initialisation (Yang et
al. 2019), which is not a fault of the weights and is allowed for. Threshold: 30 times the norm at the last layer is a
warning, 1,000 times an error, each over that tolerance. False positives: below 0.3 % at the right gain.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.null import tolerance
from evenflow.diagnose.rules.reading import gradient, names
from evenflow.probe import NetworkRecord

RULE = "exploding-gradient"
WARNING, ERROR = 30.0, 1e3
NORMALISED_GROWTH = 1.21


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the layer nearest to the output from which the gradient is too large."""
    layers = [layer for layer in network.layers if gradient(layer) is not None]
    norms = [layer.gradient.norm for layer in layers if layer.gradient]
    if len(norms) < 2 or norms[-1] == 0:
        return
    ratios = [norm / norms[-1] for norm in norms]
    limits = []
    for index in range(len(layers)):
        after = layers[index + 1 :]
        normalisations = sum(layer.role == "norm" for layer in after)
        limits.append(tolerance(after) * NORMALISED_GROWTH**normalisations)
    for threshold, severe in ((ERROR, True), (WARNING, False)):
        over = [i for i, ratio in enumerate(ratios) if ratio > threshold * limits[i]]
        if over:
            nearest, largest = over[-1], max(range(len(ratios)), key=ratios.__getitem__)
            yield Finding(
                RULE,
                "error" if severe else "warning",
                layers[nearest].name,
                {"ratio": ratios[nearest], "largest_ratio": ratios[largest]},
                f"Going back from the output, the gradient has grown {ratios[nearest]:.2g} times at "
                f"{layers[nearest].name} and "
                f"{ratios[largest]:.2g} times at {layers[largest].name}: a step that suits one end breaks the other.",
                "Scale the weights by the rule of the activation; in a recurrent network clip the gradient norm.",
                names(layers[index] for index in reversed(over)),
            )
            return
