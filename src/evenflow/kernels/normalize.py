"""Batch normalisation with its activation and a residual sum, as a loop over arrays.

A tensor is either *planes*, (batch, channel, values), where the inner loops run along the values of one channel, or
*rows*, (value, channel), where they run along the channels of one value. Sums over values are float64, about the first
value of each channel, so that nothing cancels.

Several threads call a loop at once, and take tasks until there are no more. It goes through the channels of a task a
block at a time and does its phases on each while that is in the cache. Where a task is a part of the values of each
channel, whoever does the last one adds up the sums of all, in their order.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from evenflow.kernels.activations import activate
from evenflow.kernels.call import AFTER, AGAIN, BEFORE, DONE, LINES, SUM, TAKEN, WRITE, Call
from evenflow.kernels.elements import F64, U64, argument, narrow, widen
from evenflow.kernels.jit import primitive, reduction, widest
from evenflow.kernels.memory import carray, next_of, planes_at, pointer, rows_at
from evenflow.kernels.per_channel import (
    FACTOR,
    NEAR,
    OFFSET,
    Array,
    Vector,
    Vectors,
    begin,
    clear,
    coefficients,
    find_moments,
    merge,
    move,
    part,
    recentre,
)  # fmt: skip

Loop = Callable[[int], None]

_UNROLLED = 4
_CALL = np.dtype(Call)


@reduction
def sum_planes(x: Array, n0: int, n1: int, c0: int, c1: int, first: Vector, sums: Vectors) -> None:
    """Sum the values of each channel, and their squares, about the first value."""
    clear(c0, c1, sums)
    for n in range(n0, n1):
        for c in range(c0, c1):
            near, total, squares = first[c], 0.0, 0.0
            for i in range(x.shape[2]):
                d = F64(widen(x[n, c, i])) - near
                total += d
                squares += d * d
            sums[0, c] += total
            sums[1, c] += squares


@primitive
def sum_rows(x: Array, n0: int, n1: int, c0: int, c1: int, first: Vector, sums: Vectors) -> None:
    """Sum as `sum_planes` does, several rows at a time."""
    clear(c0, c1, sums)
    whole = n1 - (n1 - n0) % _UNROLLED
    for n in range(n0, whole, _UNROLLED):
        for c in range(U64(c0), U64(c1)):
            near = first[c]
            d0, d1 = F64(widen(x[n, c])) - near, F64(widen(x[n + 1, c])) - near
            d2, d3 = F64(widen(x[n + 2, c])) - near, F64(widen(x[n + 3, c])) - near
            sums[0, c] += (d0 + d1) + (d2 + d3)
            sums[1, c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for n in range(whole, n1):
        for c in range(U64(c0), U64(c1)):
            d = F64(widen(x[n, c])) - first[c]
            sums[0, c] += d
            sums[1, c] += d * d


@primitive
def write_planes(
    x: Array, r: Array, y: Array, act: int, keep: bool, here: bool,
    n0: int, n1: int, c0: int, c1: int, lines: Array,
) -> None:  # fmt: skip
    """Write the outputs, over the inputs if they go `here`: one array, or the loop would not be vectorised."""
    widest()
    for n in range(n0, n1):
        for c in range(c0, c1):
            near, a, b = lines[NEAR, c], lines[FACTOR, c], lines[OFFSET, c]
            for i in range(x.shape[2]):
                z = argument(widen(x[n, c, i]) - near, widen(r[n, c, i]), keep, a, b)
                if here:
                    x[n, c, i] = narrow(x[n, c, i], activate(act, z))
                else:
                    y[n, c, i] = narrow(x[n, c, i], activate(act, z))


@primitive
def write_rows(
    x: Array, r: Array, y: Array, act: int, keep: bool, here: bool,
    n0: int, n1: int, c0: int, c1: int, lines: Array,
) -> None:  # fmt: skip
    """Write the outputs, over the inputs if they go `here`."""
    for n in range(n0, n1):
        for c in range(U64(c0), U64(c1)):
            u = widen(x[n, c]) - lines[NEAR, c]
            z = argument(u, widen(r[n, c]), keep, lines[FACTOR, c], lines[OFFSET, c])
            if here:
                x[n, c] = narrow(x[n, c], activate(act, z))
            else:
                y[n, c] = narrow(x[n, c], activate(act, z))


def forward(  # noqa: PLR0915 - of the loop
    act: int, keep: bool, here: bool, rows: bool, kinds: tuple[Any, Any], stamp: int
) -> Loop:
    """Make the loop of an activation.

    Args:
        act: Its number.
        keep: Whether a residual is added.
        here: Whether outputs overwrite the inputs.
        rows: Whether arrays are rows, not planes.
        kinds: The type of an element, and that of the numbers that are computed with.
        stamp: A part of the loop, so that one that was compiled from other sources is not taken for it.

    Returns:
        A function of the address of a `Call`.
    """
    compiled_in = (act, keep, here, stamp)
    element, number = kinds
    exact = number is F64

    def loop(address: int) -> None:  # noqa: PLR0912 - Numba drops those of the other layout only if they stand here
        act, keep, here, _ = compiled_in
        call = carray(pointer(address, _CALL), 1)[0]
        if rows:
            x, y, r = rows_at(call.x, element, call), rows_at(call.y, element, call), rows_at(call.r, element, call)
        else:
            x, y = planes_at(call.x, element, call), planes_at(call.y, element, call)
            r = planes_at(call.r, element, call)
        phases, channels = call.phases, call.channels
        moments, first = carray(pointer(call.moments, F64), (2, channels)), carray(pointer(call.first, F64), channels)
        lines = carray(pointer(call.lines, number), (LINES, channels))
        whole = call.pieces == 1
        every = carray(pointer(call.sums, F64), (call.pieces, 2, channels))
        k = next_of(address + TAKEN)
        while k < call.tasks:
            n0, n1, c0, c1 = part(call, k)
            sums = every[0 if whole else k]
            for c in range(c0, c1, call.block):
                stop = min(c + call.block, c1)
                if phases & BEFORE:
                    begin(call, number, c, stop, x, first, moments, lines)
                if phases & SUM:
                    if rows:
                        sum_rows(x, n0, n1, c, stop, first, sums)
                    else:
                        sum_planes(x, n0, n1, c, stop, first, sums)
                if exact and whole and phases & AGAIN:
                    recentre(call.count, c, stop, sums, first)
                    if rows:
                        sum_rows(x, n0, n1, c, stop, first, sums)
                    else:
                        sum_planes(x, n0, n1, c, stop, first, sums)
                if whole and phases & AFTER:
                    find_moments(call, c, stop, sums, first, moments)
                    move(call, number, c, stop, moments)
                    coefficients(call, number, c, stop, moments, lines)
                if phases & WRITE:
                    if rows:
                        write_rows(x, r, y, act, keep, here, n0, n1, c, stop, lines)
                    else:
                        write_planes(x, r, y, act, keep, here, n0, n1, c, stop, lines)
            if not whole and phases & SUM and next_of(address + DONE) == call.tasks - 1:
                merge(every)
                if phases & AGAIN:
                    recentre(call.count, 0, channels, every[0], first)
                else:
                    find_moments(call, 0, channels, every[0], first, moments)
                    move(call, number, 0, channels, moments)
                    coefficients(call, number, 0, channels, moments, lines)
            k = next_of(address + TAKEN)

    return loop
