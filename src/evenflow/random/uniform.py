"""Words to uniform numbers."""

import numpy as np
from numpy.typing import NDArray

from evenflow.random.transforms import F32, Floats


def uniform(words: NDArray[np.uint32], low: float, high: float) -> Floats:
    r"""Return numbers in [low, high), one for each word.

    In float32, each operation rounded once, in this order:

    $$
    u = \lfloor w / 2^8 \rfloor\, 2^{-24}, \qquad x = u \cdot (high - low) + low, \qquad
    y = \min(x, \text{the float before } high)
    $$

    The bounds are rounded to float32 first; u is exact. The last step is needed because `x` may round up to
    `high`. Where `low` equals `high`, all numbers are `low`.

    Args:
        words: Random words.
        low: Lower bound, attained.
        high: Upper bound, not below `low`, not attained.

    Examples:
        >>> uniform(np.array([0, 2**31, 2**32 - 1], dtype=np.uint32), 1.0, 3.0).tolist()
        [1.0, 2.0, 2.999999761581421]
    """
    bottom, top = F32(low), F32(high)
    u = (words >> np.uint32(8)).astype(F32) * F32(2.0**-24)
    scaled: Floats = u * (top - bottom) + bottom
    return np.minimum(scaled, np.nextafter(top, bottom))
