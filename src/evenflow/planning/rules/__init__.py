"""What each kind of layer asks for, one file a kind: a rule writes the rows of a layer's parameters into the draft."""

from collections.abc import Callable

from torch import nn

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer
from evenflow.planning.rules.attention import attention_rows
from evenflow.planning.rules.dense import dense_rows
from evenflow.planning.rules.embedding import embedding_rows
from evenflow.planning.rules.norm import norm_rows
from evenflow.planning.rules.recurrent import recurrent_rows
from evenflow.planning.rules.unknown import unknown_rows

Rule = Callable[[Draft, int, Layer], None]


def rule_for(layer: Layer) -> Rule:
    """The rule for a layer."""
    if isinstance(layer.module, nn.MultiheadAttention):
        return attention_rows
    if isinstance(layer.module, nn.RNNBase | nn.RNNCellBase):
        return recurrent_rows
    return {"weight": dense_rows, "norm": norm_rows, "embedding": embedding_rows}.get(layer.role, unknown_rows)
