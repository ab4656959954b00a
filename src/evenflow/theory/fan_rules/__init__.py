"""Fan rules, one file for each family of layers.

A rule maps a layer to the fans of each of its weights, the first input weight first. Biases have no entry:
nothing is summed over them.
"""

from collections.abc import Callable
from typing import Any

from evenflow.theory.fan_pair import Fans
from evenflow.theory.fan_rules.attention import attention_fans
from evenflow.theory.fan_rules.convolution import convolution_fans, transposed_convolution_fans
from evenflow.theory.fan_rules.dense import (
    bilinear_fans,
    is_transformers_conv1d,
    linear_fans,
    transformers_conv1d_fans,
)
from evenflow.theory.fan_rules.elementwise import elementwise_fans
from evenflow.theory.fan_rules.embedding import embedding_fans
from evenflow.theory.fan_rules.recurrent import cell_fans, recurrent_fans
from evenflow.theory.recognition import class_names

# A layer belongs to Any: it is known by its attributes, not by a class that would have to be imported.
Rule = Callable[[Any], dict[str, Fans]]

_BY_CLASS: dict[str, Rule] = {
    "Linear": linear_fans,
    "Bilinear": bilinear_fans,
    "_ConvTransposeNd": transposed_convolution_fans,
    "_ConvNd": convolution_fans,
    "Embedding": embedding_fans,
    "EmbeddingBag": embedding_fans,
    "RNNBase": recurrent_fans,
    "RNNCellBase": cell_fans,
    "MultiheadAttention": attention_fans,
    "_NormBase": elementwise_fans,
    "LayerNorm": elementwise_fans,
    "GroupNorm": elementwise_fans,
    "RMSNorm": elementwise_fans,
    "PReLU": elementwise_fans,
}


def find_rule(layer: object) -> Rule | None:
    """Return the rule of the nearest class of the layer that has one."""
    if is_transformers_conv1d(layer):
        return transformers_conv1d_fans
    return next((_BY_CLASS[name] for name in class_names(layer) if name in _BY_CLASS), None)
