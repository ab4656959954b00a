"""What batch normalisation knows of each channel, between the phases that go through its values."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.elements import F32, F64, Scalar, widen
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
def parameter(address: int, size: int, c: int, otherwise: float) -> Any:
    """Return the parameter of a channel, from numbers of `size` bytes; there are none of 0 bytes."""
    if size == 8:
        return carray(pointer(address, F64), c + 1)[c]
    if size == 4:
        return F64(carray(pointer(address, F32), c + 1)[c])
    return otherwise


@primitive
def put(address: int, size: int, c: int, value: float) -> None:
    """Write the number of a channel."""
    if size == 8:
        carray(pointer(address, F64), c + 1)[c] = value
    if size == 4:
        carray(pointer(address, F32), c + 1)[c] = value


@primitive
def toward(old: Scalar, new: Scalar, weight: Scalar, rest: Scalar) -> Scalar:
    """Return the number that is `weight` of the way from the old to the new, as torch computes it."""
    return old + weight * (new - old) if weight < rest else new - (new - old) * rest


@primitive
def move(address: int, size: int, c: int, new: float, weight: float) -> None:
    """Move the running statistic of a channel, if there is one, in its type."""
    if size == 8:
        wide = carray(pointer(address, F64), c + 1)
        wide[c] = toward(wide[c], new, weight, 1.0 - weight)
    if size == 4:
        line = carray(pointer(address, F32), c + 1)
        line[c] = toward(line[c], F32(new), F32(weight), F32(F32(1.0) - F32(weight)))


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
def coefficients(call: Any, c0: int, c1: int, moments: Vectors, lines: Array) -> None:
    """Write the normalisation of each channel as (x - near) a + b, where `near` is the mean rounded."""
    for c in range(c0, c1):
        a = parameter(call.weight, call.weight_bytes, c, 1.0) / math.sqrt(moments[VARIANCE, c] + call.eps)
        lines[NEAR, c] = moments[MEAN, c]
        lines[FACTOR, c] = a
        shift = parameter(call.bias, call.bias_bytes, c, 0.0)
        lines[OFFSET, c] = shift - (moments[MEAN, c] - F64(lines[NEAR, c])) * a


@primitive
def begin(call: Any, c0: int, c1: int, x: Array, first: Vector, moments: Vectors, lines: Array) -> None:
    """Let the sums of each channel be about its first value, so that nothing cancels; or use given moments."""
    if math.isinf(call.count):
        coefficients(call, c0, c1, moments, lines)
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
    """Turn the sums of each channel into its mean and its biased variance, and move the running statistics."""
    for c in range(c0, c1):
        rest = sums[0, c] / call.count
        variance = sums[1, c] / call.count - rest * rest
        variance = 0.0 if variance < 0.0 else variance
        moments[MEAN, c] = first[c] + rest
        moments[VARIANCE, c] = variance
        move(call.running_mean, call.running_bytes, c, moments[MEAN, c], call.momentum)
        move(call.running_var, call.running_bytes, c, variance * call.correction, call.momentum)
    if c0 == 0 and call.batches != 0:
        carray(pointer(call.batches, np.int64), 1)[0] += 1


@primitive
def find_gradients(call: Any, c0: int, c1: int, moments: Vectors, sums: Vectors, lines: Array) -> None:
    """Turn the sums into the gradients of scale and shift, and into what the gradient of the input loses.

    The count is infinite where mean and variance are given: they lose nothing then.
    """
    for c in range(c0, c1):
        inverse = 1.0 / math.sqrt(moments[VARIANCE, c] + call.eps)
        rest = moments[MEAN, c] - F64(lines[NEAR, c])
        products = sums[1, c] - rest * sums[0, c]
        put(call.d_weight, call.weight_bytes, c, products * inverse)
        put(call.d_bias, call.bias_bytes, c, sums[0, c])
        a = parameter(call.weight, call.weight_bytes, c, 1.0) * inverse
        along = -a * inverse * inverse * products / call.count
        lines[ALONG, c] = along
        lines[LEVEL, c] = -a * sums[0, c] / call.count - rest * along
