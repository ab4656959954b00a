"""From loops over whole blocks of four draws to any part of a stream."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Loop = Callable[..., None]
Draw = Callable[..., None]


def anywhere(loop: Loop) -> Draw:
    """Return a function that draws from any element on, any number of elements.

    Args:
        loop: `loop(out, key, block, *parameters)` fills an array of a multiple of 4 elements, from the beginning of a
            block.

    Returns:
        `draw(out, key, start, *parameters)`, which fills `out` with the elements `start` to `start + out.size`. The
        blocks that are cut at the two ends are drawn aside.
    """

    def draw(out: Floats, key: int, start: int, *parameters: float) -> None:
        name, head = np.uint64(key), min(-start % 4, out.size)
        tail = out.size - (out.size - head) % 4
        loop(out[head:tail], name, np.uint64((start + head) // 4), *parameters)
        for cut, first in ((out[:head], start), (out[tail:], start + tail)):
            if cut.size:
                block = np.empty(4, dtype=np.float32)
                loop(block, name, np.uint64(first // 4), *parameters)
                cut[:] = block[first % 4 :][: cut.size]

    return draw
