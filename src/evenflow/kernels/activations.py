"""Activations and their slopes, of one number, for loops that vectorise.

Numbers are float32, or float64, where they come from the mathematical library. Without the compiler the functions are
plain Python on NumPy's scalars.
"""

import math
from typing import Any

import numpy as np

from evenflow.kernels.jit import by_type, fused

F32, F64, I32 = np.float32, np.float64, np.int32
Scalar = Any

NAMES = (None, "relu", "leaky_relu", "silu", "gelu", "sigmoid", "tanh", "hardswish")
"""What the number of an activation stands for."""

_INFINITY = F32(math.inf)
_ZERO, _HALF, _ONE, _TWO, _THREE, _SIX = map(F32, (0, 0.5, 1, 2, 3, 6))
_LOG2_E = F32(1 / math.log(2))
_LN2_HIGH, _LN2_LOW = F32(0.693359375), F32(math.log(2) - 0.693359375)
# (phi(x) - 1/2) / x as a polynomial in 2 (x / 5.4)^2 - 1: a minimax fit of that times x for |x| < 5.4.
_PHI_END, _PHI_SCALE = F32(5.4), F32(2 / 5.4**2)
_P0, _P1, _P2, _P3, _P4, _P5, _P6, _P7, _P8, _P9, _P10, _P11, _P12, _P13, _P14 = map(F32, (
    0.130928114, -0.0653280541, 0.0484995916, -0.039206814, 0.0321165957, -0.0257464554, 0.0196451358, -0.0139633268,
    0.0096512232, -0.00671532657, 0.00365887885, -0.00118642044, 0.000874967489, -0.00102836546, 0.000392848538,
))  # fmt: skip


@fused
def exp32(x: np.float32) -> np.float32:
    """Return e^x within 1.1 ulp; below -87 it stays what it is there, and above 88 it is infinite."""
    large = x > F32(88.0)
    x = F32(-87.0) if x < F32(-87.0) else x
    x = F32(88.0) if x > F32(88.0) else x
    count = np.floor(x * _LOG2_E + _HALF)
    f = (x - count * _LN2_HIGH) - count * _LN2_LOW
    rest = F32(1 / 120) + f * (F32(1 / 720) + f * F32(1 / 5040))
    series = _ONE + (f + f * f * (_HALF + f * (F32(1 / 6) + f * (F32(1 / 24) + f * rest))))
    power: np.float32 = I32((I32(count) + I32(127)) << I32(23)).view(F32)
    value: np.float32 = power * series
    return _INFINITY if large else value


@fused
def exp64(x: np.float64) -> np.float64:
    """Return e^x."""
    return F64(math.exp(x))


exp = by_type(F32, exp32, exp64)


@fused
def phi32(x: np.float32) -> np.float32:
    """Return the standard normal distribution function within 1.6e-7, and 0 and 1 where that is nearer."""
    near = x if x > -_PHI_END else -_PHI_END
    near = near if near < _PHI_END else _PHI_END
    u = near * near * _PHI_SCALE - _ONE
    value = _P14
    value = value * u + _P13
    value = value * u + _P12
    value = value * u + _P11
    value = value * u + _P10
    value = value * u + _P9
    value = value * u + _P8
    value = value * u + _P7
    value = value * u + _P6
    value = value * u + _P5
    value = value * u + _P4
    value = value * u + _P3
    value = value * u + _P2
    value = value * u + _P1
    value = value * u + _P0
    value = _HALF + near * value
    value = _ZERO if x < -_PHI_END else value
    return _ONE if x > _PHI_END else value


@fused
def phi64(x: np.float64) -> np.float64:
    """Return the standard normal distribution function."""
    return F64(0.5 * math.erfc(-x * math.sqrt(0.5)))


phi = by_type(F32, phi32, phi64)


@fused
def tanh32(z: np.float32) -> np.float32:
    """Return the hyperbolic tangent; near zero by its series, where the difference below would cancel."""
    s = z * z
    series = F32(-17 / 315) + s * (F32(62 / 2835) + s * (F32(-1382 / 155925) + s * F32(21844 / 6081075)))
    near = z + z * s * (F32(-1 / 3) + s * (F32(2 / 15) + s * series))
    far = _ONE - _TWO / (exp32(_TWO * np.abs(z)) + _ONE)
    far = -far if z < F32(0) else far
    return near if s < F32(0.16) else far


@fused
def tanh64(x: np.float64) -> np.float64:
    """Return the hyperbolic tangent."""
    return F64(math.tanh(x))


tanh = by_type(F32, tanh32, tanh64)


@fused
def density32(x: np.float32) -> np.float32:
    """Return the standard normal density."""
    return exp32(-_HALF * x * x) * F32(1 / math.sqrt(2 * math.pi))


@fused
def density64(x: np.float64) -> np.float64:
    """Return the standard normal density."""
    return F64(math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


density = by_type(F32, density32, density64)


@fused
def leak32(_: np.float32) -> np.float32:
    """Return the slope of a leaky ReLU where it leaks."""
    return F32(0.01)


@fused
def leak64(_: np.float64) -> np.float64:
    """Return the slope of a leaky ReLU where it leaks."""
    return F64(0.01)


leak = by_type(F32, leak32, leak64)


@fused
def sigmoid(z: Scalar) -> Scalar:
    """Return 1 / (1 + e^-z)."""
    return _ONE / (_ONE + exp(-z))


@fused
def activate(act: int, z: Scalar) -> Scalar:
    """Apply the activation of a number, its place in `NAMES`, with torch's default parameters; NaN stays NaN."""
    y = z
    if act == 1:
        y = _ZERO if z < _ZERO else z
    elif act == 2:
        y = z * leak(z) if z < _ZERO else z
    elif act == 3:
        y = z * sigmoid(z)
    elif act == 4:
        y = z * phi(z)
    elif act == 5:
        y = sigmoid(z)
    elif act == 6:
        y = tanh(z)
    elif act == 7:
        y = z + _THREE
        y = _ZERO if y < _ZERO else y
        y = z * (_SIX if y > _SIX else y) / _SIX
    return y


@fused
def slope(act: int, z: Scalar) -> Scalar:
    """Return the derivative of `activate`; where there are two, torch's choice."""
    s = _ONE
    if act == 1:
        s = _ZERO if z <= _ZERO else _ONE
    elif act == 2:
        s = _ONE if z > _ZERO else leak(z)
    elif act == 3:
        s = sigmoid(z)
        s = s * (_ONE + z * (_ONE - s))
    elif act == 4:
        s = phi(z) + z * density(z)
    elif act == 5:
        s = sigmoid(z)
        s = s * (_ONE - s)
    elif act == 6:
        s = tanh(z)
        s = _ONE - s * s
    elif act == 7:
        s = z / _THREE + _HALF
        s = _ZERO if z <= -_THREE else s
        s = _ONE if z >= _THREE else s
    return s
