"""Elements of a batch, and the numbers that are computed with.

An element is float32, float64, or uint16 for the bits of bfloat16; numbers are float32, or float64 for float64.
"""

from typing import Any

import numpy as np

from evenflow.kernels.activations import slope
from evenflow.kernels.jit import by_type, primitive

F32, F64, U16, U32, U64 = np.float32, np.float64, np.uint16, np.uint32, np.uint64
Scalar = Any


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
