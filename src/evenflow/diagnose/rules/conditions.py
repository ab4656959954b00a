"""eval-mode, one-sample, constant-input, unused, frozen: facts about the call, which change what the symptoms mean.

They are notes. Null and threshold: none, they are facts. False positives: none.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import finite
from evenflow.probe import NetworkRecord


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Say what about the call limits the diagnosis."""
    if not network.was_training:
        yield Finding(
            "eval-mode",
            "note",
            "",
            {},
            "The model was in evaluation mode; it was measured in training mode, where it would learn.",
            "Call model.train() before training.",
        )
    if network.samples < 2:
        yield Finding(
            "one-sample",
            "note",
            "input",
            {"samples": network.samples},
            "The batch holds one sample, so nothing can be said about how the signal depends on the input.",
            "Check with 32 samples or more.",
        )
    elif _is_constant(network):
        yield Finding(
            "constant-input",
            "note",
            "input",
            {"samples": network.samples},
            "All samples of the batch are equal, so nothing can be said about how the signal depends on the input.",
            "Check with real data, or with random numbers.",
        )
    if network.unused:
        yield _unused(network.unused)
    if network.frozen:
        yield _frozen(network.frozen)


def _is_constant(network: NetworkRecord) -> bool:
    if any(layer.role == "embedding" for layer in network.layers):
        return False
    read = [layer.input for layer in network.layers if not layer.sources and layer.input is not None]
    return bool(read) and all(finite(moments) and moments.spread == 0 for moments in read)


def _unused(layers: tuple[str, ...]) -> Finding:
    more = f", nor those of {_counted(len(layers) - 1, 'more layer')}" if len(layers) > 1 else ""
    return Finding(
        "unused",
        "note",
        layers[0],
        {"layers": len(layers)},
        f"The forward pass does not use the parameters of {called(layers[0])}{more}.",
        "Use them or remove them: an optimizer would carry them along.",
        layers,
    )


def _frozen(parameters: tuple[str, ...]) -> Finding:
    count = len(parameters)
    need = "1 parameter does" if count == 1 else f"{count} parameters do"
    first = parameters[0] if count == 1 else f"{parameters[0]} first"
    return Finding(
        "frozen",
        "note",
        parameters[0].rpartition(".")[0],
        {"parameters": count},
        f"{need} not require a gradient ({first}): no prescription changes {'it' if count == 1 else 'them'}.",
        "Nothing, if that is meant.",
    )


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
