"""What is measured in a running network: capture, statistics, records. It judges nothing."""

from evenflow.probe.measure import measure
from evenflow.probe.preserve import preserved
from evenflow.probe.records import (
    Activation,
    Histogram,
    InputRecord,
    LayerRecord,
    LossRecord,
    Moments,
    NetworkRecord,
    ParameterRecord,
)
from evenflow.probe.usable import unwrapped

__all__ = [
    "Activation",
    "Histogram",
    "InputRecord",
    "LayerRecord",
    "LossRecord",
    "Moments",
    "NetworkRecord",
    "ParameterRecord",
    "measure",
    "preserved",
    "unwrapped",
]
