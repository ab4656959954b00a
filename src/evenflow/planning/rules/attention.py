"""torch's multi-head attention, whose projections lie in one module."""

import math

from torch import nn

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer, ends_branch
from evenflow.theory import fans


def attention_rows(draft: Draft, index: int, layer: Layer) -> None:
    """Queries, keys and values of unit size, so that the logits are too; the output by the residual sum it ends in."""
    module = layer.module
    assert isinstance(module, nn.MultiheadAttention)  # `rule_for` chose by the module
    moment = draft.second_moment_before(layer)
    for key in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
        name = draft.name_of(getattr(module, key))
        if name is not None:
            pair = fans(module, key)
            gain = 1 / math.sqrt(moment)
            options = {"mean": 0.0, "std": gain / math.sqrt(pair.fan_in)}
            reason = "queries, keys and values of unit size, so that the logits of the attention have it too"
            draft.add(layer, name, "normal", options, reason, role="attention", fans=pair, gain=gain)
    _output(draft, layer, module)
    for key in ("in_proj_bias", "bias_k", "bias_v"):
        name = draft.name_of(getattr(module, key))
        if name is not None and key == "in_proj_bias":
            draft.constant(layer, name, 0.0, "a bias starts at zero")
        elif name is not None:
            std = 1 / math.sqrt(module.embed_dim)
            draft.add(
                layer, name, "normal", {"mean": 0.0, "std": std}, "a learned key or value of unit norm", role="other"
            )
    draft.emit(index, layer.share)


def _output(draft: Draft, layer: Layer, module: nn.MultiheadAttention) -> None:
    weight, bias = draft.name_of(module.out_proj.weight), draft.name_of(module.out_proj.bias)
    if weight is not None:
        pair = fans(module.out_proj)
        share = 0.0 if layer.sums and draft.zero_branches else layer.share
        reason = ends_branch(layer) if layer.sums else "hands the values on at their size"
        options = {"mean": 0.0, "std": share / math.sqrt(pair.fan_in)}
        role = "residual" if layer.sums else "attention"
        draft.add(layer, weight, "normal", options, reason, role=role, fans=pair, gain=share)
    if bias is not None:
        draft.constant(layer, bias, 0.0, "a bias starts at zero")
