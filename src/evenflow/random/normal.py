"""Words to normal numbers."""

import numpy as np
from numpy.typing import NDArray

from evenflow.random.transforms import F32, Floats, cos_sin, log


def normal(words: NDArray[np.uint32], mean: float, std: float) -> Floats:
    r"""Return normal numbers, one for each word, made pairwise by the method of Box and Muller.

    The words $w_0, w_1$ of a pair become, in float32, each operation rounded once,

    $$
    u_1 = w_0\, 2^{-32} + 2^{-33} \in (0, 1], \quad r = \sqrt{-2 \ln u_1}, \quad
    \theta = 2 \pi \lfloor w_1 / 2^8 \rfloor 2^{-24}, \quad
    x_0 = r \cos\theta \cdot std + mean, \quad x_1 = r \sin\theta \cdot std + mean,
    $$

    with the logarithm, cosine and sine of `evenflow.random.transforms`. No draw is further than 6.8 standard
    deviations from the mean.

    Args:
        words: Random words, an even number of them.
        mean: Mean, rounded to float32.
        std: Standard deviation, at least 0, rounded to float32.

    Examples:
        >>> normal(np.array([2**31, 0], dtype=np.uint32), 0.0, 1.0)
        array([1.17741, 0.     ], dtype=float32)

    References:
        Box & Muller 1958, "A note on the generation of random normal deviates", equation 1.
    """
    pairs = words.reshape(-1, 2)
    u = pairs[:, 0].astype(F32) * F32(2.0**-32) + F32(2.0**-33)
    radius = np.sqrt(F32(-2) * log(u))
    cosine, sine = cos_sin(pairs[:, 1] >> np.uint32(8))
    draws = np.empty(pairs.shape, dtype=F32)
    np.multiply(radius, cosine, out=draws[:, 0])
    np.multiply(radius, sine, out=draws[:, 1])
    scaled: Floats = draws * F32(std) + F32(mean)
    return scaled.reshape(-1)
