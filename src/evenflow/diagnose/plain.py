"""Records as JSON can hold them: no tuples, and NaN and infinity as strings."""

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The same nested value of dicts, lists, strings, finite numbers, booleans and None.

    Example:
        >>> plain({"ratio": float("inf"), "layers": ("a", "b")})
        {'ratio': 'inf', 'layers': ['a', 'b']}
    """
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
