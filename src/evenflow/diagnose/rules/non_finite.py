"""non-finite: NaN or infinity in the data, the parameters, the outputs, the loss or the gradients.

Null: a finite computation has none. Threshold: one value. False positives: none by construction, since masks are
exempt: infinities in an input that reach no output are a note, and those in a buffer nothing.
"""

import math
from collections.abc import Iterator
from typing import Literal

from evenflow.diagnose.finding import Evidence, Finding, Severity
from evenflow.diagnose.rules.reading import called, names
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "non-finite"

_PARAMETER = "Parameter {} holds NaN or infinity{}, and everything computed from it does too."
_BUFFER = "Buffer {} holds NaN or infinity{}, and evaluation mode computes with it."

Where = Literal["data", "parameters", "forward", "loss", "backward"]


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first place where a value stops being finite, in the order data, parameters, forward, loss, backward."""
    for place in (_in_data, _in_parameters, _forward, _in_loss, _backward):
        finding = place(network)
        if finding is not None:
            yield finding
            return


def _finding(
    where: Where,
    layers: tuple[str, ...],
    evidence: Evidence,
    explanation: str,
    remedy: str,
    severity: Severity = "error",
) -> Finding:
    return Finding(RULE, severity, layers[0], {"where": where, **evidence}, explanation, remedy, layers)


def _in_data(network: NetworkRecord) -> Finding | None:
    bad = next((item for item in network.inputs if item.moments.nonfinite), None)
    if bad is None:
        return None
    count = bad.moments.nonfinite
    told = f"Input {bad.name} holds {_values(count)} that {'is' if count == 1 else 'are'} NaN or infinite"
    evidence: Evidence = {"count": count, "input": bad.name}
    if _computes_finite(network):
        return _finding(
            "data", ("input",), evidence, f"{told}, but no layer's output is.", "Nothing, if it is a mask.", "note"
        )
    return _finding(
        "data",
        ("input",),
        evidence,
        f"{told}, and every layer that {'it reaches' if count == 1 else 'they reach'} is affected.",
        "Find such samples where the data are loaded, and drop or impute them.",
    )


def _in_parameters(network: NetworkRecord) -> Finding | None:
    finite = _computes_finite(network)
    bad = tuple(name for name in network.nonfinite_parameters if not finite or _matters(name, network))
    if not bad:
        return None
    owners = tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in bad))
    layers = tuple(layer.name for layer in network.layers if _holds(layer, bad) or layer.name in owners)
    learnt = any(_holds(layer, bad[:1]) for layer in network.layers)
    return _finding(
        "parameters",
        tuple(dict.fromkeys(layers)) or owners,
        {"parameters": len(bad), "first": bad[0]},
        _PARAMETER.format(bad[0], _others(len(bad))) if learnt else _BUFFER.format(bad[0], _others(len(bad))),
        "Initialise these weights again, or load a checkpoint from before they broke; then clip the gradient norm."
        if learnt
        else "Reset it, for a BatchNorm with reset_running_stats(), or load a checkpoint from before it broke.",
    )


def _matters(name: str, network: NetworkRecord) -> bool:
    """Whether it is a layer's parameter or a statistic of a normalisation, and no buffer that holds a mask."""
    owner = name.rpartition(".")[0]
    return any(_holds(layer, (name,)) or (layer.role == "norm" and layer.name == owner) for layer in network.layers)


def _computes_finite(network: NetworkRecord) -> bool:
    outputs = [moments.nonfinite for layer in network.layers for moments in (layer.output, layer.signal)]
    return not any(outputs) and math.isfinite(network.loss.value)


def _forward(network: NetworkRecord) -> Finding | None:
    bad = [layer for layer in network.layers if layer.output.nonfinite or layer.signal.nonfinite]
    if not bad:
        return None
    first = bad[0]
    layer, count = called(first.name), first.output.nonfinite or first.signal.nonfinite
    if first.input is not None and first.input.nonfinite:
        told = (
            f"What {layer} reads is not finite ({_values(first.input.nonfinite)}), though all layers before it give "
            "finite outputs: an operation between them breaks."
        )
        remedy = "Look before this layer for a logarithm, square root or division at zero, or a row that is masked out."
    elif first.output.nonfinite:
        told = (
            f"The output of {layer} is the first that is not finite ({_values(count)}), though its input and weights "
            "are: it overflows."
        )
        remedy = "Give this layer and those before it weights of the right scale, or compute in a wider dtype."
    else:
        told = f"The activation after {layer} turns finite values into NaN or infinity ({_values(count)})."
        remedy = "Use an activation that is defined and bounded by its input everywhere, or make its input smaller."
    return _finding("forward", names(bad), {"count": count}, told, remedy)


def _in_loss(network: NetworkRecord) -> Finding | None:
    if math.isfinite(network.loss.value):
        return None
    return _finding(
        "loss",
        ("loss",),
        {"loss": str(network.loss.value)},
        f"The loss is {network.loss.value} although every output is finite.",
        "Look in the loss for a logarithm or a division that meets zero; compute it from logits.",
    )


def _backward(network: NetworkRecord) -> Finding | None:
    bad = [layer for layer in reversed(network.layers) if layer.gradient and layer.gradient.nonfinite]
    if not bad:
        return None
    first = bad[0]
    return _finding(
        "backward",
        names(bad),
        {"count": first.gradient.nonfinite if first.gradient else 0},
        f"The loss is finite, but the gradient that reaches {called(first.name)} is not.",
        "Look after this layer for a square root, norm or division at zero, and add an epsilon inside it; or the "
        "gradient overflows.",
    )


def _holds(layer: LayerRecord, parameters: tuple[str, ...]) -> bool:
    return any(parameter.name in parameters for parameter in layer.parameters)


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count:,} values"


def _others(count: int) -> str:
    return "" if count == 1 else f", as {'does 1 more' if count == 2 else f'do {count - 1} more'}"
