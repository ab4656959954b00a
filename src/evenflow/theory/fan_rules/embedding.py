"""Embedding tables."""

from typing import Any

from evenflow.theory.fan_pair import Fans


def embedding_fans(layer: Any) -> dict[str, Fans]:
    """Fan-in is 1, since an output is one weight; fan-out, towards a one-hot input, is the embedding size.

    A bag of L rows sums L weights, so its output variance is L times (mode "sum") or 1 / L times (mode
    "mean") that of one row. L belongs to the data, not to the layer: multiply the standard deviation by
    L^(-1/2) or L^(1/2) where L is known.
    """
    return {"weight": Fans(1.0, float(layer.embedding_dim))}
