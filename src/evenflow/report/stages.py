"""Stages: the points along the depth axis, so that a network and its treated self can share one."""

from dataclasses import dataclass

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.probe.records import Activation, LayerRecord, Moments


@dataclass(frozen=True, slots=True)
class Stage:
    """A layer, together with a normalisation that reads it before any activation does.

    Attributes:
        depth: Position along the depth axis, from 1.
        layer: Name of the layer.
        signal: What the stage hands on: after the normalisation and the activation.
        gradient: Gradient with respect to the layer's output; None when none arrived.
        activation: The activation inside the stage.
    """

    depth: int
    layer: str
    signal: Moments
    gradient: Moments | None
    activation: Activation | None


def stages(diagnosis: Diagnosis) -> tuple[Stage, ...]:
    """List the stages of a network in execution order.

    An inserted BatchNorm adds a record but no stage: layer 7 of the treated network stays at depth 7.
    """
    return tuple(
        Stage(
            depth=depth,
            layer=group[0].name,
            signal=group[-1].signal,
            gradient=group[0].gradient,
            activation=group[-1].activation,
        )
        for depth, group in enumerate(_groups(diagnosis), start=1)
    )


def depths(diagnosis: Diagnosis) -> tuple[int, ...]:
    """The position of every layer along the depth axis."""
    return tuple(depth for depth, group in enumerate(_groups(diagnosis), start=1) for _ in group)


def _groups(diagnosis: Diagnosis) -> list[list[LayerRecord]]:
    groups: list[list[LayerRecord]] = []
    for layer in diagnosis.layers:
        if groups and _joins(layer, groups[-1][-1]):
            groups[-1].append(layer)
        else:
            groups.append([layer])
    return groups


def _joins(layer: LayerRecord, previous: LayerRecord) -> bool:
    return layer.role == "norm" and previous.normalised and previous.index in layer.sources
