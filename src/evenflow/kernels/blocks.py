"""From loops over whole blocks of four draws to any part of a stream."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Starts = NDArray[np.int64]
Loop = Callable[..., None]
Draw = Callable[..., None]


def anywhere(loop: Loop) -> Draw:
    """Return a function that draws from any element on, any number of elements.

    Args:
        loop: `loop(out, key, blocks, *parameters)` fills a table of one or more rows, each of whole blocks of 4
            elements from its own block on.

    Returns:
        `draw(out, key, start, *parameters)`, which fills `out` with the elements `start` to `start + out.size`. The
        blocks that are cut at the two ends are drawn aside. Where `start` is an array and `out` a table, both of whole
        blocks, each row is filled from its own start on.
    """

    def draw(out: Floats, key: int, start: int | Starts, *parameters: float) -> None:
        name = np.uint64(key)
        if isinstance(start, np.ndarray):
            loop(out, name, (start // 4).astype(np.uint64), *parameters)
            return
        head = min(-start % 4, out.size)
        tail = out.size - (out.size - head) % 4
        if head < tail:
            loop(out[None, head:tail], name, _block(start + head), *parameters)
        for cut, first in ((out[:head], start), (out[tail:], start + tail)):
            if cut.size:
                block = np.empty((1, 4), dtype=np.float32)
                loop(block, name, _block(first), *parameters)
                cut[:] = block[0, first % 4 :][: cut.size]

    return draw


def _block(start: int) -> NDArray[np.uint64]:
    return np.array([start // 4], dtype=np.uint64)
