"""cut-gradient: a layer that the forward pass uses and that should learn, but that no gradient reaches.

Not a small gradient but none: the graph was cut on the way back, by `detach()`, `.data`, `no_grad`, or a round trip
through NumPy. Null and threshold: none, it is a fact. False positives: a branch that is meant not to learn although its
parameters require a gradient; freezing them says so, and silences the rule.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import names
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "cut-gradient"


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the last layer before the cut, which is the nearest to it."""
    cut = [layer for layer in network.layers if _is_cut(layer)]
    if not cut:
        return
    nearest = cut[-1]
    yield Finding(
        RULE,
        "warning",
        nearest.name,
        {"layers": len(names(cut))},
        f"No gradient reaches the parameters of {called(nearest.name)}, though the forward pass uses them and they "
        "require one: the graph is cut after it.",
        "Look after it for detach(), .data, no_grad or NumPy; if it is meant not to learn, freeze it by "
        "requires_grad_(False).",
        names(reversed(cut)),
    )


def _is_cut(layer: LayerRecord) -> bool:
    trainable = [parameter for parameter in layer.parameters if parameter.trainable]
    return bool(trainable) and all(parameter.grad_norm is None for parameter in trainable)
