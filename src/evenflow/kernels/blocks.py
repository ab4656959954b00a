"""From a loop over rows of whole blocks of four draws to any part of a stream."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.drawing import ASIDE, Drawing
from evenflow.kernels.team import run_together

Floats = NDArray[np.float32]
Starts = NDArray[np.int64]
Blocks = NDArray[np.uint64]
Draw = Callable[..., None]

PAST_CACHE = 2**18
"""Numbers from which they go past the cache: fewer will be read from it."""
# What is worth a second thread; and what each takes at once, at least and at most.
_SHARED, _LEAST, _MOST = 2**15, 2**14, 2**16


def anywhere(loop: Any) -> Draw:
    """Return a function that draws from any element on, any number of elements.

    Args:
        loop: A compiled callback that reads a `Drawing`.

    Returns:
        `draw(out, key, start, *numbers, threads=1)`, which fills `out`, C-contiguous, with the elements `start` to
        `start + out.size`. The blocks that are cut at the two ends are drawn aside. Where `start` is an array and `out`
        a table, both of whole blocks, each row is filled from its own start on.
    """

    def draw(out: Floats, key: int, start: int | Starts, *numbers: float, threads: int = 1) -> None:
        if out.dtype != np.float32 or not out.flags.c_contiguous:
            raise TypeError(f"draws go to contiguous float32; got {out.dtype} with the strides {out.strides}")
        if out.size == 0:
            return
        if isinstance(start, np.ndarray):
            fill(out, out.shape[1], key, (start // 4).astype(np.uint64), numbers, threads)
            return
        head = min(-start % 4, out.size)
        tail = out.size - (out.size - head) % 4
        if head < tail:
            width = tail - head
            if threads > 1 and width >= _SHARED:
                width = min(_MOST, max(_LEAST, width // 8 // threads // ASIDE * ASIDE))
            blocks = np.arange(-(-(tail - head) // width), dtype=np.uint64) * np.uint64(width // 4)
            fill(out[head:tail], width, key, blocks + np.uint64((start + head) // 4), numbers, threads)
        for cut, first in ((out[:head], start), (out[tail:], start + tail)):
            if cut.size:
                block = np.empty(4, dtype=np.float32)
                fill(block, 4, key, np.array([first // 4], dtype=np.uint64), numbers, 1)
                cut[:] = block[first % 4 :][: cut.size]

    def fill(out: Floats, width: int, key: int, blocks: Blocks, numbers: tuple[float, ...], threads: int) -> None:
        rows = max(1, _LEAST // width)
        call = Drawing(key=key, count=out.size, width=width, rows=rows, tasks=-(-blocks.size // rows))
        call.out, call.blocks, call.past = out.ctypes.data, blocks.ctypes.data, out.size >= PAST_CACHE
        call.numbers[: len(numbers)] = numbers
        run_together(loop, call.address, min(threads, call.tasks))

    return draw
