"""Layers in which every output element sees every input element."""

from typing import Any

from evenflow.theory.fan_pair import Fans


def linear_fans(layer: Any) -> dict[str, Fans]:
    """Fan-in is the number of inputs, fan-out the number of outputs."""
    return {"weight": Fans(float(layer.in_features), float(layer.out_features))}


def bilinear_fans(layer: Any) -> dict[str, Fans]:
    r"""Count the pairs of inputs: $y_k = \sum_{ij} x_i W_{kij} z_j$.

    Both inputs have second moment 1. Fan-out is that of the first input; for the second it is out * in1.
    """
    first, second, out = float(layer.in1_features), float(layer.in2_features), float(layer.out_features)
    return {"weight": Fans(first * second, out * second)}


def is_transformers_conv1d(layer: object) -> bool:
    """Tell whether this is GPT-2's dense layer, by name and attribute, so that copies of its source count."""
    names = {c.__name__ for c in type(layer).__mro__}
    return {"Conv1D", "Module"} <= names and hasattr(layer, "nf")


def transformers_conv1d_fans(layer: Any) -> dict[str, Fans]:
    """Read the weight as (inputs, outputs), the transpose of Linear's."""
    inputs, outputs = layer.weight.shape
    return {"weight": Fans(float(inputs), float(outputs))}
