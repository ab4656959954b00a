"""Layers that no rule knows: their parameters stay what they are, and the plan says so."""

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer


def unknown_rows(draft: Draft, index: int, layer: Layer) -> None:
    """Keep every parameter, and report the layer."""
    for name in layer.parameters:
        draft.keep(layer, name, f"no rule is known for a {layer.kind}")
    draft.emit(index, 1.0)
