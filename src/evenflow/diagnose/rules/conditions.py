"""eval-mode, one-sample, unused, frozen: facts about the call, which are no symptoms but change what those mean.

They are notes. Null and threshold: none, they are facts. False positives: none.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
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
    if network.unused:
        yield Finding(
            "unused",
            "note",
            network.unused[0],
            {"layers": len(network.unused)},
            f"The forward pass does not use the parameters of {network.unused[0]}"
            + (f" and of {len(network.unused) - 1} more layers." if len(network.unused) > 1 else "."),
            "Remove them, or use them: an optimizer would carry them along.",
            network.unused,
        )
    if network.frozen:
        yield Finding(
            "frozen",
            "note",
            network.frozen[0].rpartition(".")[0],
            {"parameters": len(network.frozen)},
            f"{len(network.frozen)} parameters do not require a gradient, {network.frozen[0]} first; nothing is said "
            "about theirs.",
            "Nothing, if that is meant.",
        )
