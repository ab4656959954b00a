"""How the rules read a record: which numbers are usable, and what a layer is to the network."""

import math
from collections.abc import Iterable, Sequence

from evenflow.probe import LayerRecord, Moments, ParameterRecord

UNITS_FIRST = ("conv", "batchnorm", "groupnorm", "instancenorm")


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


def plain_weight(layer: LayerRecord) -> ParameterRecord | None:
    """The weight of a layer; None where it is computed from several parameters or by a parametrisation."""
    matrices = [parameter for parameter in layer.parameters if parameter.rows is not None]
    if len(matrices) != 1 or ".parametrizations." in f".{matrices[0].name}" or matrices[0].name.endswith("_orig"):
        return None
    return matrices[0]


def weight_gain(layer: LayerRecord) -> float | None:
    """The factor by which the weights of a linear layer multiply the root mean square of what it reads.

    It is `rms(w) * sqrt(fan_in)`; None for other layers, and where the weights are not plain, finite numbers.
    """
    weight = plain_weight(layer)
    if layer.role != "weight" or layer.fans is None or weight is None or weight.nonfinite:
        return None
    return weight.rms * math.sqrt(layer.fans.fan_in)


def ends(layers: Sequence[LayerRecord]) -> tuple[LayerRecord, ...]:
    """The layers whose output no other layer reads: the outputs of the network."""
    read = {source for layer in layers for source in layer.sources}
    return tuple(layer for layer in layers if layer.index not in read)


def outputs_with_gradient(layers: Sequence[LayerRecord]) -> tuple[LayerRecord, ...]:
    """The outputs of the network that a gradient starts from; the last layer with one where none of them has any."""
    reached = [layer for layer in layers if gradient(layer) is not None]
    outputs = tuple(layer for layer in ends(layers) if gradient(layer) is not None)
    return outputs or tuple(reached[-1:])


def zero_head(layers: Sequence[LayerRecord]) -> LayerRecord | None:
    """The last layer, when its weight is zero on purpose: it still learns, and the others from the second step on."""
    head = layers[-1] if layers else None
    weight = head.weight if head else None
    if head is None or weight is None or weight.rms != 0 or not weight.grad_norm:
        return None
    return head


def positions(layer: LayerRecord) -> int:
    """Number of places of one sample to which a layer applies the same weights: pixels, time steps, tokens.

    A Conv2d that gives (32, 16, 8, 8) has 64 of them, a Linear that gives (32, 16, 8) has 16.
    """
    shape = layer.output.shape
    first = layer.kind.lower().startswith(UNITS_FIRST)
    return max(1, math.prod(shape[2:] if first else shape[1:-1]))
