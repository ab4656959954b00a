"""Layers whose weight scales each element by itself."""

from typing import Any

from evenflow.theory.fan_pair import Fans


def elementwise_fans(_layer: Any) -> dict[str, Fans]:
    """One weight meets one element, forwards and backwards."""
    return {"weight": Fans(1.0, 1.0)}
