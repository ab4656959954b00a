"""Rows of draws, as a compiled loop that several threads call at once."""

from collections.abc import Callable

import numpy as np

from evenflow.kernels.drawing import ASIDE, NORMAL, NUMBERS, UNIFORM, Drawing
from evenflow.kernels.draws import F32, F64, U64, central, normal, uniform
from evenflow.kernels.memory import carray, next_of, pointer, settle

_CALL = np.dtype(Drawing)
_TAKEN, _NUMBERS, _MOST = Drawing.taken.offset, Drawing.numbers.offset, max(NUMBERS)


def rows_of(distribution: int, stamp: int) -> Callable[[int], None]:
    """Make the loop of a distribution.

    Args:
        distribution: Its number.
        stamp: A part of the loop, so that one that was compiled from other sources is not taken for it.

    Returns:
        A function of the address of a `Drawing`.
    """
    compiled_in = (distribution, stamp)

    def loop(address: int) -> None:
        distribution, _ = compiled_in
        call = carray(pointer(address, _CALL), 1)[0]
        numbers = carray(pointer(address + _NUMBERS, F64), _MOST)
        pairs, aside = np.empty(ASIDE // 2, dtype=np.uint64), np.empty(ASIDE, dtype=np.float32)
        past = call.past != 0
        blocks = carray(pointer(call.blocks, U64), -(-call.count // call.width))
        k = next_of(address + _TAKEN)
        while k < call.tasks:
            for row in range(k * call.rows, min((k + 1) * call.rows, blocks.size)):
                start = row * call.width
                out = carray(pointer(call.out + 4 * start, F32), min(call.width, call.count - start))
                if distribution == UNIFORM:
                    uniform(out, call.key, blocks[row], numbers, past, pairs, aside)
                elif distribution == NORMAL:
                    normal(out, call.key, blocks[row], numbers, past, pairs, aside)
                else:
                    central(out, call.key, blocks[row], numbers, past, aside)
            k = next_of(address + _TAKEN)
        if past:
            settle()

    return loop
