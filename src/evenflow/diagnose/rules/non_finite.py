"""non-finite: NaN or infinity in the data, the parameters, the outputs, the loss or the gradients.

Null: a finite computation has none. Threshold: one value. False positives: none by construction, since masks are
exempt: infinities in an input that reach no output are a note, and those in a buffer nothing.
"""

import math
from collections.abc import Iterator
from typing import Literal

from evenflow.diagnose.finding import Evidence, Finding, Severity
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import names
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "non-finite"

Where = Literal["data", "parameters", "forward", "loss", "backward"]


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first place where a value stops being finite, in the order data, parameters, forward, loss, backward."""
    for place in (_in_data, _in_parameters, _forward, _in_loss, _backward):
        finding = place(network)
        if finding is not None:
            yield finding
        if finding is not None and finding.severity == "error":
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
    bad = _broken_names(network)
    if not bad:
        return None
    owners = tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in bad))
    layers = tuple(layer.name for layer in network.layers if _holds(layer, bad) or layer.name in owners)
    statistic = any(_is_statistic(layer, bad[0]) for layer in network.layers)
    return _finding(
        "parameters",
        tuple(dict.fromkeys(layers)) or owners,
        {"parameters": len(bad), "first": bad[0]},
        f"{bad[0]} holds NaN or infinity{_others(len(bad))}, and "
        f"{'evaluation mode computes with it' if statistic else 'everything computed from it does too'}.",
        "Reset it with reset_running_stats(), or load a checkpoint from before it broke."
        if statistic
        else "Draw these weights again, or load a checkpoint from before they broke; then clip the gradient norm.",
    )


def _broken_names(network: NetworkRecord) -> tuple[str, ...]:
    """Names of the parameters and buffers whose NaN is a fault: not of a buffer that holds a mask."""
    every = network.nonfinite_parameters
    used = tuple(n for n in every if any(_holds(layer, (n,)) or _is_statistic(layer, n) for layer in network.layers))
    return used or (() if _computes_finite(network) or _overflows(network) else every)


def _is_statistic(layer: LayerRecord, name: str) -> bool:
    return layer.role == "norm" and layer.name == name.rpartition(".")[0] and not _holds(layer, (name,))


def _overflows(network: NetworkRecord) -> bool:
    """Whether the first layer that gives NaN or infinity reads none."""
    first = next((layer for layer in network.layers if layer.output.nonfinite or layer.signal.nonfinite), None)
    return first is not None and first.input is not None and first.input.nonfinite == 0


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
