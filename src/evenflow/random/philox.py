"""Philox4x32-10, a counter-based generator: 128 random bits for every (counter, key), and no state."""

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

Lane = NDArray[np.uint64]
Counter = tuple[Lane, Lane, Lane, Lane]


def philox4x32(counter: Counter, key: tuple[int, int]) -> Counter:
    r"""Encrypt counters with a key.

    Each of ten rounds multiplies two of the four words by constants, and mixes the high halves of the
    products with the other two words and the round's key:

    $$
    (c_0, c_1, c_2, c_3) \leftarrow
    (\mathrm{hi}(M_1 c_2) \oplus c_1 \oplus k_0,\; \mathrm{lo}(M_1 c_2),\;
     \mathrm{hi}(M_0 c_0) \oplus c_3 \oplus k_1,\; \mathrm{lo}(M_0 c_0))
    $$

    Args:
        counter: Four arrays of one shape, each element a 32-bit word held in 64 bits.
        key: Two 32-bit words.

    Returns:
        Four arrays of 32-bit words held in 64 bits.

    Examples:
        >>> zero = np.zeros(1, np.uint64)
        >>> [f"{int(word[0]):08x}" for word in philox4x32((zero, zero, zero, zero), (0, 0))]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']

    References:
        Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.3 and table 2.
    """
    c0, c1, c2, c3 = counter
    for turn in range(_ROUNDS):
        k0, k1 = (np.uint64((word + turn * step) & 0xFFFFFFFF) for word, step in zip(key, _WEYL, strict=True))
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (p1 >> _HALF) ^ (c1 ^ k0), p1 & _LOW, (p0 >> _HALF) ^ (c3 ^ k1), p0 & _LOW
    return c0, c1, c2, c3


def words(key: tuple[int, int], start: int, count: int) -> NDArray[np.uint32]:
    """Return the words `start` to `start + count` of the endless sequence that a key names.

    Word `i` is word `i % 4` of the counter `i // 4`, whose low 32 bits come first and whose upper two words
    are zero.

    Args:
        key: Two 32-bit words.
        start: Index of the first word, at least 0.
        count: How many words.

    Examples:
        >>> words((0, 0), 2, 3).tolist()[:2] == [0xBC57AC4C, 0x9B00DBD8]
        True
    """
    first, last = start // 4, -(-(start + count) // 4)
    index = np.arange(last - first, dtype=np.uint64) + np.uint64(first)
    return blocks(key, index).reshape(-1)[start - 4 * first :][:count]


def blocks(key: tuple[int, int], index: Lane) -> NDArray[np.uint32]:
    """Return blocks of four words, one for each counter.

    Args:
        key: Two 32-bit words.
        index: Which blocks.

    Examples:
        >>> bool((blocks((0, 0), np.array([5], np.uint64))[0] == words((0, 0), 20, 4)).all())
        True
    """
    zero = np.zeros_like(index)
    lanes = philox4x32((index & _LOW, index >> _HALF, zero, zero), key)
    found = np.empty((index.size, 4), dtype=np.uint32)
    for place, lane in enumerate(lanes):
        found[:, place] = lane
    return found
