"""The draws of `evenflow.random`, which explains their mathematics, as loops that give the same bits.

Words are made in 64 bits, where a product of two has room, some hundred at a time, and turned into draws in 32, of
which a vector has twice as many. `cos_sin` and `log` work on signed 32-bit integers, which every processor converts to
float32 at full width.

Without the compiler the functions are plain Python on NumPy's scalars.
"""

from math import factorial

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.drawing import ASIDE
from evenflow.kernels.jit import primitive, widest
from evenflow.kernels.memory import pour

F32 = np.float32
I32 = np.int32
U32 = np.uint32
U64 = np.uint64
F64 = np.float64
Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]
Pairs = NDArray[np.uint64]
Block = tuple[np.uint64, np.uint64, np.uint64, np.uint64]
State = tuple[np.uint64, np.uint64, np.uint64, np.uint64, np.uint64, np.uint64]
Words = NDArray[np.uint32]

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


_N0, _N1, _N2, _N3, _N4, _N5, _N6, _N7, _N8, _N9, _N10 = map(F32, (
    2.3809397220611572, 0.3374546468257904, -0.008901417255401611, -0.0009185464004985988, 0.0002514761290512979,
    -2.0926943761878647e-05, -1.457024836781784e-06, 5.649607714985905e-07, -4.100833805864568e-08,
    -5.418529624989787e-09, 9.046348670160853e-10,
))  # fmt: skip
_F0, _F1, _F2, _F3, _F4, _F5, _F6, _F7, _F8, _F9 = map(F32, (
    4.7170891761779785, 1.4246342182159424, 0.004636980127543211, -0.0029116307850927114, 0.001526957261376083,
    -0.00098073435947299, 0.0006598782492801547, -0.0003038946015294641, 5.522847641259432e-05,
    3.823640781774884e-06,
))  # fmt: skip
_MIDDLE, _MIDDLE_ROOT, _LIMIT = F32(3.25), F32(3.5), F32(6.5)
# With no smaller tail than this, -ln(4 q (1 - q)) is at most 6.44.
_END = 4e-4


@primitive
def nine_rounds(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, key: np.uint64) -> State:
    """Encrypt one counter by all rounds of Philox4x32-10 but the last; return that round's keys too."""
    k0, k1 = key & _LOW, key >> _HALF
    for _ in range(9):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3, k0, k1


@primitive
def philox(c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, key: np.uint64) -> Block:
    """Encrypt one counter by Philox4x32-10."""
    c0, c1, c2, c3, k0, k1 = nine_rounds(c0, c1, c2, c3, key)
    p0, p1 = c0 * _M0, c2 * _M1
    return (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW


@primitive
def words(block: np.uint64, key: np.uint64) -> Block:
    """Return the four words of a block of a stream."""
    return philox(block & _LOW, block >> _HALF, U64(0), U64(0), key)


@primitive
def turned(product: np.uint64) -> np.uint64:
    """Return a number with its halves exchanged."""
    return (product >> _HALF) | (product << _HALF)


@primitive
def word_pairs(pairs: Pairs, key: np.uint64, block: np.uint64) -> None:
    """Fill an array with the words of whole blocks of a stream, from `block` on, the first of each two in its low half.

    A product has the halves of such a pair, in the other order.
    """
    widest()
    for i in range(pairs.size // 2):
        counter = block + U64(i)
        c0, c1, c2, c3, k0, k1 = nine_rounds(counter & _LOW, counter >> _HALF, U64(0), U64(0), key)
        pairs[2 * i] = turned(c2 * _M1) ^ c1 ^ k0
        pairs[2 * i + 1] = turned(c0 * _M0) ^ c3 ^ k1


@primitive
def scaled_uniform(word: np.uint32, low: np.float32, width: np.float32, last: np.float32) -> np.float32:
    """Return the uniform draw of a word, at most `last`."""
    draw = F32(I32(word >> U32(8))) * F32(2.0**-24) * width + low
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
def normal_pair(word: np.uint32, other: np.uint32, mean: np.float32, std: np.float32) -> tuple[np.float32, np.float32]:
    """Return the two normal draws of two words."""
    u = F32(word) * F32(2.0**-32) + F32(2.0**-33)
    radius = np.sqrt(F32(-2) * log(u))
    cosine, sine = cos_sin(I32(other >> U32(8)))
    return radius * cosine * std + mean, radius * sine * std + mean


@primitive
def near_middle(v: np.float32) -> np.float32:
    """Return the quantile divided by 1 - 2q, for v below `_LIMIT`."""
    a = v - _MIDDLE
    return _N0 + a * (
        _N1 + a * (_N2 + a * (_N3 + a * (_N4 + a * (_N5 + a * (_N6 + a * (_N7 + a * (_N8 + a * (_N9 + a * _N10))))))))
    )


@primitive
def near_end(v: np.float32) -> np.float32:
    """Return the quantile divided by 1 - 2q, for v from `_LIMIT` on."""
    b = F32(np.sqrt(v)) - _MIDDLE_ROOT
    return _F0 + b * (_F1 + b * (_F2 + b * (_F3 + b * (_F4 + b * (_F5 + b * (_F6 + b * (_F7 + b * (_F8 + b * _F9))))))))


@primitive
def quantile(word: np.uint64, left: float, right: float, share: float, ends: bool, even: bool) -> np.float32:
    """Return the truncated standard normal draw of a word.

    Where the interval has `ends` beyond `_LIMIT`, both polynomials are computed, so that loops vectorise. Where it is
    `even`, the nearer end is that of the smaller number: fewer steps, to the same bits.
    """
    number = I32(word >> U64(1))
    if even:
        is_below = number < I32(2**30)
        q = left + (F64(number if is_below else ~number & I32(2**31 - 1)) + 0.5) * 2.0**-31 * share
    else:
        u = (F64(number) + 0.5) * 2.0**-31
        below, above = left + u * share, right + (1.0 - u) * share
        is_below = below < above
        q = below if is_below else above
    y, tail = F32(1.0 - 2.0 * q), F32(q)
    v = -log(F32(4) * tail * (F32(1) - tail))
    size = y * (near_end(v) if ends and v >= _LIMIT else near_middle(v))
    return -size if is_below else size


@primitive
def confined(draw: np.float32, bottom: np.float32, top: np.float32) -> np.float32:
    """Return the draw moved into [bottom, top]."""
    raised = bottom if draw < bottom else draw
    return top if raised > top else raised


@primitive
def uniform_line(source: Words, line: Floats, bottom: np.float32, width: np.float32, last: np.float32) -> None:
    """Turn words into uniform draws."""
    widest()
    for i in range(line.size):
        line[i] = scaled_uniform(source[i], bottom, width, last)


@primitive
def normal_line(source: Words, line: Floats, mean: np.float32, std: np.float32) -> None:
    """Turn words into normal draws."""
    widest()
    for i in range(line.size // 2):
        line[2 * i], line[2 * i + 1] = normal_pair(source[2 * i], source[2 * i + 1], mean, std)


@primitive
def hand_over(line: Floats, out: Floats, past: bool) -> None:
    """Copy draws to where they go, past the cache or through it."""
    if past:
        pour(line, out)
    else:
        for i in range(out.size):
            out[i] = line[i]


@primitive
def uniform(
    out: Floats, key: np.uint64, block: np.uint64, numbers: Numbers, past: bool, pairs: Pairs, aside: Floats
) -> None:
    """Fill whole blocks, from `block` on, with draws from U[low, high), the `numbers`."""
    bottom, top = F32(numbers[0]), F32(numbers[1])
    width, last = top - bottom, np.nextafter(top, bottom)
    source = pairs.view(U32)
    for done in range(0, out.size, ASIDE):
        count = min(ASIDE, out.size - done)
        word_pairs(pairs[: count // 2], key, block + U64(done // 4))
        uniform_line(source, aside, bottom, width, last)
        hand_over(aside, out[done : done + count], past)


@primitive
def normal(
    out: Floats, key: np.uint64, block: np.uint64, numbers: Numbers, past: bool, pairs: Pairs, aside: Floats
) -> None:
    """Fill whole blocks, from `block` on, with draws from N(mean, std^2), the `numbers`."""
    mean, std = F32(numbers[0]), F32(numbers[1])
    source = pairs.view(U32)
    for done in range(0, out.size, ASIDE):
        count = min(ASIDE, out.size - done)
        word_pairs(pairs[: count // 2], key, block + U64(done // 4))
        normal_line(source, aside, mean, std)
        hand_over(aside, out[done : done + count], past)


@primitive
def central_line(
    line: Floats, key: np.uint64, block: np.uint64, left: float, right: float, share: float,
    mean: np.float32, std: np.float32, low: np.float32, high: np.float32, ends: bool, even: bool,
) -> None:  # fmt: skip
    """Fill whole blocks, from `block` on, with draws from N(mean, std^2) inside [low, high].

    Half of the steps are in float64, of which a vector has no more than words: these are turned as they are made.
    """
    widest()
    for i in range(line.size // 4):
        w0, w1, w2, w3 = words(block + U64(i), key)
        line[4 * i] = confined(quantile(w0, left, right, share, ends, even) * std + mean, low, high)
        line[4 * i + 1] = confined(quantile(w1, left, right, share, ends, even) * std + mean, low, high)
        line[4 * i + 2] = confined(quantile(w2, left, right, share, ends, even) * std + mean, low, high)
        line[4 * i + 3] = confined(quantile(w3, left, right, share, ends, even) * std + mean, low, high)


@primitive
def central(out: Floats, key: np.uint64, block: np.uint64, numbers: Numbers, past: bool, aside: Floats) -> None:
    """Fill whole blocks, from `block` on, with draws from N(mean, std^2) inside [low, high], which are float32 numbers.

    The `numbers` are those of `evenflow.random.central.parameters`.
    """
    left, right, share = numbers[0], numbers[1], numbers[2]
    mean, std, low, high = F32(numbers[3]), F32(numbers[4]), F32(numbers[5]), F32(numbers[6])
    near, even = min(left, right) > _END, left == right
    for done in range(0, out.size, ASIDE):
        line, first = aside[: min(ASIDE, out.size - done)], block + U64(done // 4)
        if near and even:
            central_line(line, key, first, left, right, share, mean, std, low, high, False, True)
        elif near:
            central_line(line, key, first, left, right, share, mean, std, low, high, False, False)
        elif even:
            central_line(line, key, first, left, right, share, mean, std, low, high, True, True)
        else:
            central_line(line, key, first, left, right, share, mean, std, low, high, True, False)
        hand_over(line, out[done : done + line.size], past)
