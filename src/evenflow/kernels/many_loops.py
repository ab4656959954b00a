"""Loops over many arrays in one call. Where each begins, and how long it is, is given as numbers.

A call for each of thousands of small tensors costs more than the work. These loops take a list of addresses instead.
Every number is widened to float64 before it is squared or added, so that no square of a float32 leaves the range.
The order of a sum is the compiler's: the last bit may differ between processors, and depends on nothing else.

The argument `like` is an empty array, which tells the type of the numbers.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.memory import carray, pointer

Addresses = NDArray[np.uint64]
Lengths = NDArray[np.int64]
Doubles = NDArray[np.float64]
Bits = NDArray[np.signedinteger[Any]]


def squares(addresses: Addresses, lengths: Lengths, like: NDArray[np.floating], out: Doubles) -> None:
    """Sum the squares of each array."""
    for i in range(addresses.size):
        numbers = carray(pointer(addresses[i], like), lengths[i])
        total = 0.0
        for j in range(lengths[i]):
            number = np.float64(numbers[j])
            total += number * number
        out[i] = total


def magnitudes(addresses: Addresses, lengths: Lengths, like: NDArray[np.floating], out: Doubles) -> None:
    """Sum the absolute values of each array."""
    for i in range(addresses.size):
        numbers = carray(pointer(addresses[i], like), lengths[i])
        total = 0.0
        for j in range(lengths[i]):
            total += abs(np.float64(numbers[j]))
        out[i] = total


def peaks(addresses: Addresses, lengths: Lengths, like: Bits, out: Bits) -> None:
    """Find the bits of the largest magnitude of each array; NaN is above infinity.

    Without their sign, floating-point numbers are ordered as the integers that have the same bits; integers have no
    NaN, which a loop that is vectorised cannot compare.
    """
    mask = like.dtype.type(np.iinfo(like.dtype).max)
    for i in range(addresses.size):
        numbers = carray(pointer(addresses[i], like), lengths[i])
        largest = like.dtype.type(0)
        for j in range(lengths[i]):
            largest = max(largest, numbers[j] & mask)
        out[i] = largest


def scale(addresses: Addresses, lengths: Lengths, like: NDArray[np.floating], factor: float) -> None:
    """Multiply each array by a factor, rounded to the type of its numbers first, as torch does."""
    rounded = like.dtype.type(factor)
    for i in range(addresses.size):
        numbers = carray(pointer(addresses[i], like), lengths[i])
        for j in range(lengths[i]):
            numbers[j] *= rounded
