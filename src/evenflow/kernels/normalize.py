"""Batch normalisation with its activation and a residual sum, forward and backward, as loops over arrays.

A tensor is either *planes*, (batch, channel, values), where the inner loops run along the values of one channel, or
*rows*, (value, channel), where they run along the channels of one value. Elements of bfloat16 are uint16 here.
Sums over values are float64, about the first value of each channel, so that nothing cancels; everything else is
float32, or float64 for float64.

A loop goes through its channels a block at a time and does its `phases` on each while that is in the cache: sums over
values, what follows from them for each channel, and the elements that are written. `build` makes one for an activation.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.activations import activate, slope
from evenflow.kernels.jit import by_type, primitive, reduction, widest

F32, F64, U16, U32 = np.float32, np.float64, np.uint16, np.uint32
Array = NDArray[Any]
Vectors = NDArray[np.float64]
Loop = Callable[..., None]
Scalar = Any

BEFORE, SUM, AFTER, WRITE, AGAIN = 1, 2, 4, 8, 16
"""The phases: what mean and variance give, sums, what follows from them, elements; and sums again, about the mean."""
FIRST, MEAN, VARIANCE, SCALE, SHIFT = range(5)
"""Lines of the `table`, float64: the first value, the two moments and the two parameters of each channel."""
NEAR, FACTOR, OFFSET, ALONG, LEVEL = range(5)
"""Lines that the phases leave for each other, in the type that is computed in."""
_UNROLLED = 4


@primitive
def from_bfloat(element: np.uint16) -> np.float32:
    """Return a bfloat16 as a number to compute with."""
    wide: np.float32 = U32(U32(element) << U32(16)).view(F32)
    return wide


@primitive
def to_bfloat(_: np.uint16, value: np.float32) -> np.uint16:
    """Return the bits of the nearest bfloat16, of two that are as near the even one."""
    bits = F32(value).view(U32)
    rounded = U16(U32(bits + U32(0x7FFF) + ((bits >> U32(16)) & U32(1))) >> U32(16))
    return U16(0x7FC0) if np.isnan(value) else rounded


@primitive
def same(element: Scalar) -> Scalar:
    """Return an element that is a number to compute with."""
    return element


@primitive
def second(_: Scalar, value: Scalar) -> Scalar:
    """Return a number that is an element as it is."""
    return value


widen = by_type(U16, from_bfloat, same)
narrow = by_type(U16, to_bfloat, second)
"""From an element to a number; and back, to what another element is."""


@primitive
def centred(value: Scalar, near: Scalar) -> Scalar:
    """Return an element less the mean; a function of its own, which a sum does not reorder."""
    return value - near


@primitive
def gradient(act: int, dy: Scalar, z: Scalar) -> Scalar:
    """Return the gradient of what the activation is applied to."""
    return dy * slope(act, z)


@primitive
def argument(u: Scalar, r: Scalar, keep: bool, a: Scalar, b: Scalar) -> Scalar:
    """Return what the activation is applied to, from the centred element and, where it is kept, the residual."""
    z = u * a + b
    return z + r if keep else z


@reduction
def sum_planes(x: Array, n0: int, n1: int, c0: int, c1: int, table: Vectors, sums: Vectors) -> None:
    """Sum the values of each channel, and their squares, about the first value."""
    for n in range(n0, n1):
        for c in range(c0, c1):
            first, total, squares = table[FIRST, c], 0.0, 0.0
            for i in range(x.shape[2]):
                d = F64(widen(x[n, c, i])) - first
                total += d
                squares += d * d
            sums[0, c] += total
            sums[1, c] += squares


@primitive
def sum_rows(x: Array, n0: int, n1: int, table: Vectors, sums: Vectors) -> None:
    """Sum as `sum_planes` does, several rows at a time."""
    whole = n1 - (n1 - n0) % _UNROLLED
    for n in range(n0, whole, _UNROLLED):
        for c in range(x.shape[1]):
            first = table[FIRST, c]
            d0, d1 = F64(widen(x[n, c])) - first, F64(widen(x[n + 1, c])) - first
            d2, d3 = F64(widen(x[n + 2, c])) - first, F64(widen(x[n + 3, c])) - first
            sums[0, c] += (d0 + d1) + (d2 + d3)
            sums[1, c] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)
    for n in range(whole, n1):
        for c in range(x.shape[1]):
            d = F64(widen(x[n, c])) - table[FIRST, c]
            sums[0, c] += d
            sums[1, c] += d * d


@primitive
def recentre(count: float, c0: int, c1: int, sums: Vectors, table: Vectors) -> None:
    """Let the sums of each channel begin again about its mean, in place of its first value."""
    for c in range(c0, c1):
        table[FIRST, c] += sums[0, c] / count
        sums[0, c], sums[1, c] = 0.0, 0.0


@primitive
def moments(count: float, c0: int, c1: int, sums: Vectors, table: Vectors) -> None:
    """Turn the sums of each channel into its mean and its biased variance."""
    for c in range(c0, c1):
        rest = sums[0, c] / count
        variance = sums[1, c] / count - rest * rest
        table[MEAN, c] = table[FIRST, c] + rest
        table[VARIANCE, c] = 0.0 if variance < 0.0 else variance


@primitive
def coefficients(eps: float, c0: int, c1: int, table: Vectors, lines: Array) -> None:
    """Write the normalisation of each channel as (x - near) a + b, where `near` is the mean rounded."""
    for c in range(c0, c1):
        a = table[SCALE, c] / math.sqrt(table[VARIANCE, c] + eps)
        lines[NEAR, c] = table[MEAN, c]
        lines[FACTOR, c] = a
        lines[OFFSET, c] = table[SHIFT, c] - (table[MEAN, c] - F64(lines[NEAR, c])) * a


@primitive
def write_planes(
    act: int, keep: bool, here: bool, x: Array, r: Array, y: Array,
    n0: int, n1: int, c0: int, c1: int, lines: Array,
) -> None:  # fmt: skip
    """Write the outputs, over the inputs if they go `here`: one array, or the loop would not be vectorised."""
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
def write_rows(act: int, keep: bool, here: bool, x: Array, r: Array, y: Array, n0: int, n1: int, lines: Array) -> None:
    """Write the outputs, over the inputs if they go `here`."""
    for n in range(n0, n1):
        for c in range(x.shape[1]):
            u = widen(x[n, c]) - lines[NEAR, c]
            z = argument(u, widen(r[n, c]), keep, lines[FACTOR, c], lines[OFFSET, c])
            if here:
                x[n, c] = narrow(x[n, c], activate(act, z))
            else:
                y[n, c] = narrow(x[n, c], activate(act, z))


@reduction
def sum_gradient_planes(
    act: int, keep: bool, stash: bool, x: Array, r: Array, dy: Array, dx: Array, dr: Array,
    n0: int, n1: int, c0: int, c1: int, lines: Array, sums: Vectors,
) -> None:  # fmt: skip
    """Sum the gradient of what the activation is applied to, alone and times the centred elements.

    Where it is to be stashed, it is left for `write_gradient_planes` as the gradient of the residual or of the input.
    """
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
    act: int, keep: bool, stash: bool, x: Array, r: Array, dy: Array, dx: Array, dr: Array,
    n0: int, n1: int, lines: Array, sums: Vectors,
) -> None:  # fmt: skip
    """Sum as `sum_gradient_planes` does, two rows at a time."""
    widest()
    for n in range(n0, n1 - (n1 - n0) % 2, 2):
        for c in range(x.shape[1]):
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
        for c in range(x.shape[1]):
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
def gradients(
    eps: float, count: float, c0: int, c1: int, table: Vectors, sums: Vectors, lines: Array, grads: Vectors
) -> None:
    """Turn the sums into the gradients of scale and shift, and into what the gradient of the input loses.

    `count` is infinite where mean and variance are given: they lose nothing then.
    """
    for c in range(c0, c1):
        inverse = 1.0 / math.sqrt(table[VARIANCE, c] + eps)
        rest = table[MEAN, c] - F64(lines[NEAR, c])
        products = sums[1, c] - rest * sums[0, c]
        grads[0, c] = products * inverse
        grads[1, c] = sums[0, c]
        a = table[SCALE, c] * inverse
        along = -a * inverse * inverse * products / count
        lines[ALONG, c] = along
        lines[LEVEL, c] = -a * sums[0, c] / count - rest * along


@primitive
def write_gradient_planes(
    act: int, keep: bool, stash: bool, x: Array, r: Array, dy: Array, dx: Array, dr: Array,
    n0: int, n1: int, c0: int, c1: int, lines: Array,
) -> None:  # fmt: skip
    """Write the gradients of the input and of the residual."""
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
    act: int, keep: bool, stash: bool, x: Array, r: Array, dy: Array, dx: Array, dr: Array,
    n0: int, n1: int, lines: Array,
) -> None:  # fmt: skip
    """Write the gradients of the input and of the residual."""
    widest()
    for n in range(n0, n1):
        for c in range(x.shape[1]):
            u = centred(widen(x[n, c]), lines[NEAR, c])
            if stash:
                g = widen(dr[n, c]) if keep else widen(dx[n, c])
            else:
                z = argument(u, widen(r[n, c]), keep, lines[FACTOR, c], lines[OFFSET, c])
                g = gradient(act, widen(dy[n, c]), z)
                if keep:
                    dr[n, c] = narrow(x[n, c], g)
            dx[n, c] = narrow(x[n, c], g * lines[FACTOR, c] + (u * lines[ALONG, c] + lines[LEVEL, c]))


def forward(act: int, keep: bool, here: bool, rows: bool, stamp: int) -> Loop:
    """Make the forward loop of an activation, with a residual sum if it is kept, on rows or on planes.

    Outputs overwrite the inputs if they go `here`.

    `stamp` is a part of the loop, so that one that was compiled from other sources is not taken for it.
    """
    chosen = (act, keep, here, stamp)

    def loop(
        x: Array, r: Array, y: Array, table: Vectors, lines: Array, sums: Vectors, eps: float, count: float,
        n0: int, n1: int, c0: int, c1: int, block: int, phases: int,
    ) -> None:  # fmt: skip
        for c in range(c0, c1, block):
            stop = min(c + block, c1)
            if phases & BEFORE:
                coefficients(eps, c, stop, table, lines)
            if phases & SUM:
                if rows:
                    sum_rows(x, n0, n1, table, sums)
                else:
                    sum_planes(x, n0, n1, c, stop, table, sums)
            if phases & AGAIN:
                recentre(count, c, stop, sums, table)
                if rows:
                    sum_rows(x, n0, n1, table, sums)
                else:
                    sum_planes(x, n0, n1, c, stop, table, sums)
            if phases & AFTER:
                moments(count, c, stop, sums, table)
                coefficients(eps, c, stop, table, lines)
            if phases & WRITE:
                if rows:
                    write_rows(chosen[0], chosen[1], chosen[2], x, r, y, n0, n1, lines)
                else:
                    write_planes(chosen[0], chosen[1], chosen[2], x, r, y, n0, n1, c, stop, lines)

    return loop


def backward(act: int, keep: bool, stash: bool, rows: bool, stamp: int) -> Loop:
    """Make the backward loop, as `forward` does that; `stash` computes the slope of the activation once, not twice."""
    chosen = (act, keep, stash, stamp)

    def loop(
        x: Array, r: Array, dy: Array, dx: Array, dr: Array, table: Vectors, lines: Array, sums: Vectors,
        grads: Vectors, eps: float, count: float, n0: int, n1: int, c0: int, c1: int, block: int, phases: int,
    ) -> None:  # fmt: skip
        for c in range(c0, c1, block):
            stop = min(c + block, c1)
            if phases & BEFORE:
                coefficients(eps, c, stop, table, lines)
            if phases & SUM:
                if rows:
                    sum_gradient_rows(chosen[0], chosen[1], chosen[2], x, r, dy, dx, dr, n0, n1, lines, sums)
                else:
                    sum_gradient_planes(chosen[0], chosen[1], chosen[2], x, r, dy, dx, dr, n0, n1, c, stop, lines, sums)
            if phases & AFTER:
                gradients(eps, count, c, stop, table, sums, lines, grads)
            if phases & WRITE:
                if rows:
                    write_gradient_rows(chosen[0], chosen[1], chosen[2], x, r, dy, dx, dr, n0, n1, lines)
                else:
                    write_gradient_planes(chosen[0], chosen[1], chosen[2], x, r, dy, dx, dr, n0, n1, c, stop, lines)

    return loop
