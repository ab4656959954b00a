"""Embedding tables."""

import math

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer

# With it the outputs of a head that shares the table start at this size. At GPT-2's width of 768 it is GPT-2's own
# standard deviation, 0.018 beside 0.02.
TIED_OUTPUT = 0.5


def embedding_rows(draft: Draft, index: int, layer: Layer) -> None:
    """A table that is also the output layer starts small, every other one at unit size."""
    for name in layer.parameters:
        shape = draft.tensors[name].shape
        fan_in = shape[-1]
        tied = "weight" in draft.uses[name]
        small = tied or _joins_tied(draft, index)
        std = TIED_OUTPUT / math.sqrt(fan_in) if small else layer.share
        options: dict[str, float | int] = {"mean": 0.0, "std": std}
        padding = getattr(layer.module, "padding_idx", None)
        if padding is not None:
            options["padding_idx"] = int(padding)
        reason = (
            f"also the output layer: outputs of size {TIED_OUTPUT:g} behind a signal of size 1"
            if tied
            else "is added to a table that is also the output layer, at its size"
            if small
            else "a token enters with unit size"
            + (f"; 1/sqrt({round(1 / layer.share**2)}), since as many are added" if layer.share < 1 else "")
        )
        draft.add(layer, name, "normal", options, reason, role="embedding", fans=layer.fans, aim=None if small else std)
        draft.emit(index, std)


def _joins_tied(draft: Draft, index: int) -> bool:
    """Whether the table is added to one that is also the output layer."""
    others = {other for group in draft.network.summed if index in group for other in group}
    tables = [draft.network.layers[other] for other in others]
    return any(
        "weight" in draft.uses[name] for table in tables if table.role == "embedding" for name in table.parameters
    )
