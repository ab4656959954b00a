"""What batch normalisation knows of each channel, between the phases that go through its values.

`number` is the type that is computed in, and that of parameters, of their gradients and of running statistics.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.elements import F64, U64, Scalar, widen
from evenflow.kernels.jit import by_rank, primitive
from evenflow.kernels.memory import carray, pointer

Array = NDArray[Any]
Vector = NDArray[np.float64]
Vectors = NDArray[np.float64]

MEAN, VARIANCE = range(2)
"""Lines of `moments`."""
NEAR, FACTOR, OFFSET, ALONG, LEVEL = range(5)
"""Lines that the phases leave for each other, in the type that is computed in; `call.LINES` of them."""


@primitive
def part(call: Any, k: int) -> tuple[int, int, int, int]:
    """Return what a task goes through: from and to which entry of the first dimension, and channel."""
    start, stop = k * call.task, (k + 1) * call.task
    if call.by_channel:
        return 0, call.batch, start, min(stop, call.channels)
    return start, min(stop, call.batch), 0, call.channels


@primitive
def first_of_rows(x: Array, c: int) -> Scalar:
    """Return the first value of a channel."""
    return x[0, c]


@primitive
def first_of_planes(x: Array, c: int) -> Scalar:
    """Return the first value of a channel."""
    return x[0, c, 0]


first_of = by_rank(first_of_rows, first_of_planes)


@primitive
def coefficients(call: Any, number: Any, c0: int, c1: int, moments: Vectors, lines: Array) -> None:
    """Write the normalisation of each channel as (x - near) a + b, where `near` is the mean rounded."""
    eps = call.eps
    scale, shift = carray(pointer(call.weight, number), c1), carray(pointer(call.bias, number), c1)
    for c in range(U64(c0), U64(c1)):
        a = F64(scale[c]) / math.sqrt(moments[VARIANCE, c] + eps)
        lines[NEAR, c] = moments[MEAN, c]
        lines[FACTOR, c] = a
        lines[OFFSET, c] = F64(shift[c]) - (moments[MEAN, c] - F64(lines[NEAR, c])) * a


@primitive
def begin(call: Any, number: Any, c0: int, c1: int, x: Array, first: Vector, moments: Vectors, lines: Array) -> None:
    """Let the sums of each channel be about its first value, so that nothing cancels; or use given moments.

    Given running statistics are the moments.
    """
    if math.isinf(call.count):
        if call.running_mean != 0:
            mean = carray(pointer(call.running_mean, number), c1)
            variance = carray(pointer(call.running_var, number), c1)
            for c in range(U64(c0), U64(c1)):
                moments[MEAN, c], moments[VARIANCE, c] = mean[c], variance[c]
        coefficients(call, number, c0, c1, moments, lines)
    else:
        for c in range(c0, c1):
            first[c] = F64(widen(first_of(x, c)))


@primitive
def clear(c0: int, c1: int, sums: Vectors) -> None:
    """Let the sums of each channel begin at 0."""
    for c in range(c0, c1):
        sums[0, c], sums[1, c] = 0.0, 0.0


@primitive
def merge(pieces: NDArray[np.float64]) -> None:
    """Add the sums of all pieces to those of the first, in their order."""
    for k in range(1, pieces.shape[0]):
        for c in range(pieces.shape[2]):
            pieces[0, 0, c] += pieces[k, 0, c]
            pieces[0, 1, c] += pieces[k, 1, c]


@primitive
def recentre(count: float, c0: int, c1: int, sums: Vectors, first: Vector) -> None:
    """Let the next sums of each channel be about its mean, in place of its first value."""
    for c in range(c0, c1):
        first[c] += sums[0, c] / count


@primitive
def find_moments(call: Any, c0: int, c1: int, sums: Vectors, first: Vector, moments: Vectors) -> None:
    """Turn the sums of each channel into its mean and its biased variance, and count the batch."""
    count = call.count
    for c in range(U64(c0), U64(c1)):
        rest = sums[0, c] / count
        variance = sums[1, c] / count - rest * rest
        moments[MEAN, c] = first[c] + rest
        moments[VARIANCE, c] = 0.0 if variance < 0.0 else variance
    if c0 == 0 and call.batches != 0:
        carray(pointer(call.batches, np.int64), 1)[0] += 1


@primitive
def toward(old: Scalar, new: Scalar, weight: Scalar, rest: Scalar) -> Scalar:
    """Return the number that is `weight` of the way from the old to the new, as torch computes it."""
    return old + weight * (new - old) if weight < rest else new - (new - old) * rest


@primitive
def move(call: Any, number: Any, c0: int, c1: int, moments: Vectors) -> None:
    """Move the running statistics, if there are any."""
    if call.running_mean != 0:
        weight, correction = number(call.momentum), call.correction
        rest = number(number(1.0) - weight)
        mean, variance = carray(pointer(call.running_mean, number), c1), carray(pointer(call.running_var, number), c1)
        for c in range(U64(c0), U64(c1)):
            mean[c] = toward(mean[c], number(moments[MEAN, c]), weight, rest)
            variance[c] = toward(variance[c], number(moments[VARIANCE, c] * correction), weight, rest)


@primitive
def find_gradients(
    call: Any, number: Any, c0: int, c1: int, moments: Vectors, sums: Vectors, lines: Array
) -> None:  # fmt: skip
    """Turn the sums into the gradients of scale and shift, and into what the gradient of the input loses.

    The count is infinite where mean and variance are given: they lose nothing then.
    """
    eps, count = call.eps, call.count
    scale = carray(pointer(call.weight, number), c1)
    d_scale, d_shift = carray(pointer(call.d_weight, number), c1), carray(pointer(call.d_bias, number), c1)
    for c in range(U64(c0), U64(c1)):
        inverse = 1.0 / math.sqrt(moments[VARIANCE, c] + eps)
        rest = moments[MEAN, c] - F64(lines[NEAR, c])
        products = sums[1, c] - rest * sums[0, c]
        a = F64(scale[c]) * inverse
        along = -a * inverse * inverse * products / count
        lines[ALONG, c] = along
        lines[LEVEL, c] = -a * sums[0, c] / count - rest * along
        d_scale[c] = products * inverse
        d_shift[c] = sums[0, c]
