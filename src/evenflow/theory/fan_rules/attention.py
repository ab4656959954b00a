"""Multi-head attention, whose input projections are three matrices, packed or not."""

from typing import Any

from evenflow.theory.fan_pair import Fans


def attention_fans(layer: Any) -> dict[str, Fans]:
    """Query, key and value each have a matrix of their own, also where the three are packed into one weight.

    The output projection is a Linear of its own, `layer.out_proj`. All heads read the whole input, so their
    number does not matter.
    """
    size = float(layer.embed_dim)
    packed = {"in_proj_weight": Fans(size, size)}
    apart = {
        "q_proj_weight": Fans(size, size),
        "k_proj_weight": Fans(float(layer.kdim), size),
        "v_proj_weight": Fans(float(layer.vdim), size),
    }
    return apart if layer.in_proj_weight is None else packed
