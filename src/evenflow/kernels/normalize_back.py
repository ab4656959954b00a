"""The way back through batch normalisation, its activation and a residual sum, as a loop; see `normalize`."""

from typing import Any

import numpy as np

from evenflow.kernels.call import AFTER, BEFORE, DONE, LINES, SUM, TAKEN, WRITE, Call
from evenflow.kernels.elements import F64, U64, argument, centred, gradient, narrow, widen
from evenflow.kernels.jit import primitive, reduction, widest
from evenflow.kernels.memory import carray, next_of, planes_at, pointer, rows_at
from evenflow.kernels.normalize import Loop
from evenflow.kernels.per_channel import (
    ALONG,
    FACTOR,
    LEVEL,
    NEAR,
    OFFSET,
    Array,
    Vectors,
    clear,
    coefficients,
    find_gradients,
    merge,
    part,
)  # fmt: skip

_CALL = np.dtype(Call)


@reduction
def sum_gradient_planes(
    x: Array, r: Array, dy: Array, dx: Array, dr: Array, act: int, keep: bool, stash: bool,
    n0: int, n1: int, c0: int, c1: int, lines: Array, sums: Vectors,
) -> None:  # fmt: skip
    """Sum the gradient of what the activation is applied to, alone and times the centred elements.

    Where it is to be stashed, it is left for `write_gradient_planes` as the gradient of the residual or of the input.
    """
    clear(c0, c1, sums)
    widest()
    for n in range(n0, n1):
        for c in range(c0, c1):
            near, a, b = lines[NEAR, c], lines[FACTOR, c], lines[OFFSET, c]
            total, products = 0.0, 0.0
            for i in range(x.shape[2]):
                u = centred(widen(x[n, c, i]), near)
                g = gradient(act, widen(dy[n, c, i]), argument(u, widen(r[n, c, i]), keep, a, b))
                total += F64(g)
                products += F64(g) * F64(u)
                if stash and keep:
                    dr[n, c, i] = narrow(x[n, c, i], g)
                elif stash:
                    dx[n, c, i] = narrow(x[n, c, i], g)
            sums[0, c] += total
            sums[1, c] += products


@primitive
def sum_gradient_rows(
    x: Array, r: Array, dy: Array, dx: Array, dr: Array, act: int, keep: bool, stash: bool,
    n0: int, n1: int, c0: int, c1: int, lines: Array, sums: Vectors,
) -> None:  # fmt: skip
    """Sum as `sum_gradient_planes` does, two rows at a time."""
    clear(c0, c1, sums)
    widest()
    for n in range(n0, n1 - (n1 - n0) % 2, 2):
        for c in range(U64(c0), U64(c1)):
            near, a, b = lines[NEAR, c], lines[FACTOR, c], lines[OFFSET, c]
            u = centred(widen(x[n, c]), near)
            v = centred(widen(x[n + 1, c]), near)
            g = gradient(act, widen(dy[n, c]), argument(u, widen(r[n, c]), keep, a, b))
            h = gradient(act, widen(dy[n + 1, c]), argument(v, widen(r[n + 1, c]), keep, a, b))
            sums[0, c] += F64(g) + F64(h)
            sums[1, c] += F64(g) * F64(u) + F64(h) * F64(v)
            if stash and keep:
                dr[n, c] = narrow(x[n, c], g)
                dr[n + 1, c] = narrow(x[n, c], h)
            elif stash:
                dx[n, c] = narrow(x[n, c], g)
                dx[n + 1, c] = narrow(x[n, c], h)
    if (n1 - n0) % 2:
        n = n1 - 1
        for c in range(U64(c0), U64(c1)):
            u = centred(widen(x[n, c]), lines[NEAR, c])
            z = argument(u, widen(r[n, c]), keep, lines[FACTOR, c], lines[OFFSET, c])
            g = gradient(act, widen(dy[n, c]), z)
            sums[0, c] += F64(g)
            sums[1, c] += F64(g) * F64(u)
            if stash and keep:
                dr[n, c] = narrow(x[n, c], g)
            elif stash:
                dx[n, c] = narrow(x[n, c], g)


@primitive
def write_gradient_planes(
    x: Array, r: Array, dy: Array, dx: Array, dr: Array, act: int, keep: bool, stash: bool,
    n0: int, n1: int, c0: int, c1: int, lines: Array,
) -> None:  # fmt: skip
    """Write the gradients of the input and of the residual."""
    widest()
    for n in range(n0, n1):
        for c in range(c0, c1):
            near, a, b = lines[NEAR, c], lines[FACTOR, c], lines[OFFSET, c]
            along, level = lines[ALONG, c], lines[LEVEL, c]
            for i in range(x.shape[2]):
                u = centred(widen(x[n, c, i]), near)
                if stash:
                    g = widen(dr[n, c, i]) if keep else widen(dx[n, c, i])
                else:
                    g = gradient(act, widen(dy[n, c, i]), argument(u, widen(r[n, c, i]), keep, a, b))
                    if keep:
                        dr[n, c, i] = narrow(x[n, c, i], g)
                dx[n, c, i] = narrow(x[n, c, i], g * a + (u * along + level))


@primitive
def write_gradient_rows(
    x: Array, r: Array, dy: Array, dx: Array, dr: Array, act: int, keep: bool, stash: bool,
    n0: int, n1: int, c0: int, c1: int, lines: Array,
) -> None:  # fmt: skip
    """Write the gradients of the input and of the residual."""
    widest()
    for n in range(n0, n1):
        for c in range(U64(c0), U64(c1)):
            u = centred(widen(x[n, c]), lines[NEAR, c])
            if stash:
                g = widen(dr[n, c]) if keep else widen(dx[n, c])
            else:
                z = argument(u, widen(r[n, c]), keep, lines[FACTOR, c], lines[OFFSET, c])
                g = gradient(act, widen(dy[n, c]), z)
                if keep:
                    dr[n, c] = narrow(x[n, c], g)
            dx[n, c] = narrow(x[n, c], g * lines[FACTOR, c] + (u * lines[ALONG, c] + lines[LEVEL, c]))


def backward(act: int, keep: bool, stash: bool, rows: bool, kinds: tuple[Any, Any], stamp: int) -> Loop:
    """Make the loop of an activation, as `forward` does; `stash` computes its slope once, not twice."""
    compiled_in = (act, keep, stash, stamp)
    element, number = kinds

    def loop(address: int) -> None:  # noqa: PLR0912 - Numba drops those of the other layout only if they stand here
        act, keep, stash, _ = compiled_in
        call = carray(pointer(address, _CALL), 1)[0]
        if rows:
            x, r, dy = rows_at(call.x, element, call), rows_at(call.r, element, call), rows_at(call.dy, element, call)
            dx, dr = rows_at(call.dx, element, call), rows_at(call.dr, element, call)
        else:
            x, r = planes_at(call.x, element, call), planes_at(call.r, element, call)
            dy, dx = planes_at(call.dy, element, call), planes_at(call.dx, element, call)
            dr = planes_at(call.dr, element, call)
        phases, channels = call.phases, call.channels
        moments = carray(pointer(call.moments, F64), (2, channels))
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
                    coefficients(call, number, c, stop, moments, lines)
                if phases & SUM:
                    if rows:
                        sum_gradient_rows(x, r, dy, dx, dr, act, keep, stash, n0, n1, c, stop, lines, sums)
                    else:
                        sum_gradient_planes(x, r, dy, dx, dr, act, keep, stash, n0, n1, c, stop, lines, sums)
                if whole and phases & AFTER:
                    find_gradients(call, number, c, stop, moments, sums, lines)
                if phases & WRITE:
                    if rows:
                        write_gradient_rows(x, r, dy, dx, dr, act, keep, stash, n0, n1, c, stop, lines)
                    else:
                        write_gradient_planes(x, r, dy, dx, dr, act, keep, stash, n0, n1, c, stop, lines)
            if not whole and phases & SUM and next_of(address + DONE) == call.tasks - 1:
                merge(every)
                find_gradients(call, number, 0, channels, moments, every[0], lines)
            k = next_of(address + TAKEN)

    return loop
