"""non-finite: NaN or infinity in the data, the parameters, the outputs, the loss or the gradients.

Null: a finite computation has none. Threshold: one value. False positives: none by construction.
"""

import math
from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.rules.reading import names
from evenflow.probe import NetworkRecord

RULE = "non-finite"


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first place where a value stops being finite, in the order data, parameters, forward, loss, backward."""
    bad_inputs = [item for item in network.inputs if item.moments.nonfinite]
    if bad_inputs:
        first = bad_inputs[0]
        yield Finding(
            RULE,
            "error",
            "input",
            {"count": first.moments.nonfinite, "input": first.name},
            f"Input {first.name} holds {first.moments.nonfinite} values that are NaN or infinite; they reach every "
            "layer.",
            "Find and drop or impute them where the data are loaded.",
            ("input",),
        )
    elif network.nonfinite_parameters:
        owners = tuple(dict.fromkeys(p.rpartition(".")[0] or p for p in network.nonfinite_parameters))
        ordered = tuple(n for n in names(network.layers) if n in owners) or owners
        first_name = network.nonfinite_parameters[0]
        yield Finding(
            RULE,
            "error",
            ordered[0],
            {"parameters": len(network.nonfinite_parameters), "first": first_name},
            f"{first_name} holds NaN or infinity, so everything after it does.",
            "Initialise these weights again, or load a checkpoint from before they broke; then clip the gradient norm.",
            ordered,
        )
    else:
        yield from _computed(network)


def _computed(network: NetworkRecord) -> Iterator[Finding]:
    forward = [layer for layer in network.layers if layer.output.nonfinite or layer.signal.nonfinite]
    backward = [layer for layer in reversed(network.layers) if layer.gradient and layer.gradient.nonfinite]
    if forward:
        first = forward[0]
        count = first.output.nonfinite or first.signal.nonfinite
        yield Finding(
            RULE,
            "error",
            first.name,
            {"count": count},
            f"The output of {first.name} is the first that is not finite ({count} values), though its inputs and "
            "weights are: "
            "it overflows.",
            "Give this layer and those before it weights of the right scale, or compute in a wider dtype.",
            names(forward),
        )
    elif not math.isfinite(network.loss.value):
        yield Finding(
            RULE,
            "error",
            "loss",
            {"loss": str(network.loss.value)},
            f"The loss is {network.loss.value} although every output is finite.",
            "Look for a logarithm or a division in the loss that meets zero; compute it from logits.",
            ("loss",),
        )
    elif backward:
        first = backward[0]
        yield Finding(
            RULE,
            "error",
            first.name,
            {"count": first.gradient.nonfinite if first.gradient else 0},
            f"The loss is finite, but the gradient that reaches {first.name} is not.",
            "Look after this layer for a square root, norm or division at zero; add an epsilon inside it.",
            names(backward),
        )
