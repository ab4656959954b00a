"""Uniform and normal draws as loops over blocks, with the bits of `evenflow.random`, which explains the mathematics.

Everything that the loops inline is in this file, since Numba's cache looks only at the file of the loop to tell
whether it is stale. Words are held in 64 bits, where a product of two has room; `cos_sin` and `log` work on signed
32-bit integers, which every processor converts to float32 at full width.

Without the compiler the functions are plain Python on NumPy's scalars.
"""

from math import factorial

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.jit import primitive

F32 = np.float32
I32 = np.int32
U64 = np.uint64
Floats = NDArray[np.float32]
Block = tuple[np.uint64, np.uint64, np.uint64, np.uint64]

_M0, _M1 = U64(0xD2511F53), U64(0xCD9E8D57)
_W0, _W1 = U64(0x9E3779B9), U64(0xBB67AE85)
_LOW, _HALF = U64(0xFFFFFFFF), U64(32)

_SQRT_HALF_BITS, _ONE_BITS, _MANTISSA = I32(0x3F3504F3), I32(0x3F800000), I32(0x007FFFFF)
_LN2_HIGH = F32(0.693145751953125)
_LN2_LOW = F32(np.log(2) - 0.693145751953125)
_L3, _L5, _L7, _L9 = (F32(2 / power) for power in (3, 5, 7, 9))

_QUARTER = np.pi / 4
_SIN_HIGH = F32(_QUARTER)
_SIN_LOW = F32(_QUARTER - float(_SIN_HIGH))
_S3, _S5, _S7, _S9 = (F32((-1) ** (n // 2) * _QUARTER**n / factorial(n)) for n in (3, 5, 7, 9))
_C2, _C4, _C6, _C8, _C10 = (F32((-1) ** (n // 2) * _QUARTER**n / factorial(n)) for n in (2, 4, 6, 8, 10))


@primitive
def philox(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, key: np.uint64) -> Block:
    """Encrypt one counter by Philox4x32-10."""
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@primitive
def words(block: np.uint64, key: np.uint64) -> Block:
    """Return the four words of a block of a stream."""
    return philox(block & _LOW, block >> _HALF, U64(0), U64(0), key)


@primitive
def scaled_uniform(word: np.uint64, low: np.float32, width: np.float32, last: np.float32) -> np.float32:
    """Return the uniform draw of a word, at most `last`."""
    draw = F32(I32(word >> U64(8))) * F32(2.0**-24) * width + low
    return draw if draw < last else last


@primitive
def log(x: np.float32) -> np.float32:
    """Return the natural logarithm of a positive, finite and normal number."""
    # Numba views only what it is told the type of.
    bits = I32(F32(x).view(I32) + (_ONE_BITS - _SQRT_HALF_BITS))
    exponent = F32(I32((bits >> I32(23)) - I32(127)))
    f = I32((bits & _MANTISSA) + _SQRT_HALF_BITS).view(F32) - F32(1)
    s = f / (F32(2) + f)
    z = s * s
    remainder = z * (_L3 + z * (_L5 + z * (_L7 + z * _L9)))
    half_square = F32(0.5) * f * f
    small = s * (half_square + remainder) + exponent * _LN2_LOW
    return ((small - half_square) + f) + exponent * _LN2_HIGH


@primitive
def cos_sin(turns: np.int32) -> tuple[np.float32, np.float32]:
    """Return the cosine and the sine of 2 pi turns / 2^24; selects stand for branches, so that loops vectorise."""
    quadrant = I32((turns + I32(1 << 21)) >> I32(22))
    x = F32(I32(turns - (quadrant << I32(22)))) * F32(2.0**-21)
    z = x * x
    sine = x * _SIN_HIGH + x * (z * (_S3 + z * (_S5 + z * (_S7 + z * _S9))) + _SIN_LOW)
    cosine = z * (_C2 + z * (_C4 + z * (_C6 + z * (_C8 + z * _C10)))) + F32(1)
    odd = (quadrant & I32(1)) != 0
    across, up = (sine if odd else cosine), (cosine if odd else sine)
    left, down = ((quadrant + I32(1)) & I32(2)) != 0, (quadrant & I32(2)) != 0
    return -across if left else across, -up if down else up


@primitive
def normal_pair(word: np.uint64, other: np.uint64, mean: np.float32, std: np.float32) -> tuple[np.float32, np.float32]:
    """Return the two normal draws of two words."""
    u = F32(word) * F32(2.0**-32) + F32(2.0**-33)
    radius = np.sqrt(F32(-2) * log(u))
    cosine, sine = cos_sin(I32(other >> U64(8)))
    return radius * cosine * std + mean, radius * sine * std + mean


def uniform(out: Floats, key: np.uint64, block: np.uint64, low: float, high: float) -> None:
    """Fill whole blocks, from `block` on, with draws from U[low, high)."""
    bottom, top = F32(low), F32(high)
    width, last = top - bottom, np.nextafter(top, bottom)
    for i in range(out.size // 4):
        w0, w1, w2, w3 = words(block + U64(i), key)
        out[4 * i] = scaled_uniform(w0, bottom, width, last)
        out[4 * i + 1] = scaled_uniform(w1, bottom, width, last)
        out[4 * i + 2] = scaled_uniform(w2, bottom, width, last)
        out[4 * i + 3] = scaled_uniform(w3, bottom, width, last)


def normal(out: Floats, key: np.uint64, block: np.uint64, mean: float, std: float) -> None:
    """Fill whole blocks, from `block` on, with draws from N(mean, std^2)."""
    centre, scale = F32(mean), F32(std)
    for i in range(out.size // 4):
        w0, w1, w2, w3 = words(block + U64(i), key)
        out[4 * i], out[4 * i + 1] = normal_pair(w0, w1, centre, scale)
        out[4 * i + 2], out[4 * i + 3] = normal_pair(w2, w3, centre, scale)
