"""Layers that no rule knows: what nothing else tells of their parameters stays what it is, and the plan says so."""

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer


def unknown_rows(draft: Draft, index: int, layer: Layer) -> None:
    """Keep every parameter, and report it; one that was seen to meet the signal is judged by what it met it in."""
    for name in layer.parameters:
        if name not in draft.network.uses:
            draft.keep(layer, name, f"no rule is known for a {layer.kind}")
    draft.emit(index, 1.0)
