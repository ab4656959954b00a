"""How the rules read a record: which numbers are usable, and names without repeats."""

import math
from collections.abc import Iterable

from evenflow.probe import LayerRecord, Moments


def finite(moments: Moments | None) -> bool:
    """Whether the moments are there and all values behind them were finite."""
    return moments is not None and moments.nonfinite == 0 and math.isfinite(moments.rms)


def strength(moments: Moments) -> float:
    """The part of a signal that depends on the input; its root mean square where there is only one sample."""
    return moments.rms if moments.spread is None else moments.spread


def names(layers: Iterable[LayerRecord]) -> tuple[str, ...]:
    """The layers' names, each once, in order."""
    return tuple(dict.fromkeys(layer.name for layer in layers))


def gradient(layer: LayerRecord) -> Moments | None:
    """The finite gradient that arrived at a layer; None where there is none."""
    return layer.gradient if finite(layer.gradient) else None


def zero_head(layers: tuple[LayerRecord, ...]) -> LayerRecord | None:
    """The last layer, when its weight is zero on purpose: it still learns, and the others from the second step on."""
    head = layers[-1] if layers else None
    weight = head.weight if head else None
    if head is None or weight is None or weight.rms != 0 or not weight.grad_norm:
        return None
    return head
