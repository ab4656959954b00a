r"""How many layers of a wide random network it takes until a signal has settled.

Two inputs whose pre-activations have the correlation $c$ leave the next layer with

$$ C(c) = \frac{\sigma_w^2\, \mathbb{E}[f(u_1) f(u_2)] + \sigma_b^2}{q^*}
= \frac{\sigma_w^2 \sum_n a_n^2 c^n + \sigma_b^2}{q^*}, $$

where $a_n = \mathbb{E}[f(\sqrt{q^*} z)\, He_n(z)] / \sqrt{n!}$ are the Hermite coefficients of the activation (Mehler
1866). All coefficients of that series are positive, so $C$ grows and is convex, and iterating it from 0 climbs to its
smallest fixed point: 1 in the ordered phase, less in the chaotic one. Near it a difference shrinks by the slope
$C'(c^*)$ a layer.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq

from evenflow import checks
from evenflow.errors import ParameterValueError
from evenflow.theory.activation_lookup import activation
from evenflow.theory.activations import Array
from evenflow.theory.mean_field import critical_point, statistics
from evenflow.theory.quadrature import sample

TERMS = 256
MOST_LAYERS = 20_000
SETTLED = 1e-13
# Variances between which the critical line is searched.
SMALLEST, LARGEST = 1e-9, 1e4


@dataclass(frozen=True)
class FixedPoint:
    r"""What a deep enough network makes of every input.

    Attributes:
        q: Variance $q^*$ of the pre-activations.
        correlation: Correlation $c^*$ of the pre-activations of two inputs.
        chi: $\chi_1$, the factor of the second moment of a gradient per layer, on its way back.
        slope: Factor of a small deviation from $c^*$ per layer.
    """

    q: float
    correlation: float
    chi: float
    slope: float

    @property
    def depth_scale(self) -> float:
        r"""$\xi_c = -1 / \ln C'(c^*)$, the layers in which a deviation falls to 1/e; inf at the critical line."""
        return -1 / math.log(self.slope) if 0 < self.slope < 1 else math.inf if self.slope > 0 else 0.0


@lru_cache(maxsize=1024)
def fixed_point(name: str, weight_variance: float, bias_variance: float, param: float | None = None) -> FixedPoint:
    r"""Where variance and correlation of a wide random network settle, and how fast.

    Args:
        name: A name of the catalogue.
        weight_variance: $\sigma_w^2$, to be divided by the fan-in; above 0.
        bias_variance: $\sigma_b^2$, from 0.
        param: The activation's parameter.

    Raises:
        ParameterTypeError: A variance is no number.
        ParameterValueError: A variance is out of range, the activation is unknown, or the variance of the signal
            vanishes, explodes or does not settle.

    Examples:
        >>> for weight_variance in (1.0, 1.5, 2.5):
        ...     found = fixed_point("tanh", weight_variance, 0.05)
        ...     print(f"{found.chi:.2f} {found.correlation:.2f} {found.depth_scale:.1f}")
        0.76 1.00 3.6
        0.94 1.00 15.8
        1.13 0.45 11.8

    References:
        Poole et al. 2016, "Exponential expressivity in deep neural networks through transient chaos". Schoenholz et al.
        2017, "Deep information propagation", sections 3 and 4.
    """
    weight = checks.real("weight_variance", weight_variance, low=0, open_low=True)
    bias = checks.real("bias_variance", bias_variance, low=0)
    q = _settled(name, weight, bias, param)
    chi = weight * statistics(name, q, param).slope_moment
    if chi <= 1:
        return FixedPoint(q, 1.0, chi, chi)
    series = weight * hermite(name, q, param) ** 2 / q
    correlation = _smallest(series, bias / q)
    return FixedPoint(q, correlation, chi, _slope(series, correlation))


def critical_weight_variance(name: str, bias_variance: float, param: float | None = None) -> float:
    r"""The weight variance at which biases of a given variance meet the critical line $\chi_1 = 1$.

    Args:
        name: A name of the catalogue, such as "tanh", of an activation with a critical line that starts at zero.
        bias_variance: $\sigma_b^2$, above 0.
        param: The activation's parameter.

    Raises:
        ParameterTypeError: The variance is no number.
        ParameterValueError: The variance is not positive, the activation is unknown, or its critical line has no such
            point.

    Examples:
        >>> round(critical_weight_variance("tanh", 0.05), 2)
        1.76

    References:
        Schoenholz et al. 2017, "Deep information propagation", figure 1.
    """
    wanted = checks.real("bias_variance", bias_variance, low=0, open_low=True)

    def beyond(log_q: float) -> float:
        return critical_point(name, math.exp(log_q), param).bias_variance - wanted

    low, high = math.log(SMALLEST), math.log(LARGEST)
    if beyond(low) > 0 or beyond(high) < 0:
        raise ParameterValueError(f"the critical line of {name} has no point with bias_variance {wanted:g}")
    return critical_point(name, math.exp(brentq(beyond, low, high, xtol=1e-12)), param).weight_variance


@lru_cache(maxsize=256)
def hermite(name: str, q: float, param: float | None = None) -> Array:
    r"""The first Hermite coefficients $a_n = \mathbb{E}[f(\sqrt q z)\, He_n(z)] / \sqrt{n!}$ of an activation.

    Examples:
        >>> [round(float(a), 3) for a in hermite("relu", 1.0)[:3]]
        [0.399, 0.5, 0.282]
    """
    scale, known = math.sqrt(q), activation(name, param)
    sampled = sample(lambda z: known.function(scale * z), tuple(kink / scale for kink in known.kinks))
    before, here = np.zeros_like(sampled.points), np.ones_like(sampled.points)
    found = np.empty(TERMS)
    for n in range(TERMS):
        found[n] = sampled.expect(sampled.values * here)
        before, here = here, (sampled.points * here - math.sqrt(n) * before) / math.sqrt(n + 1)
    return found


def _settled(name: str, weight: float, bias: float, param: float | None) -> float:
    q = weight + bias
    for _ in range(MOST_LAYERS):
        after = weight * statistics(name, q, param).second_moment + bias
        if not SMALLEST < after < LARGEST:
            break
        if abs(after - q) <= SETTLED * q:
            return after
        q = after
    raise ParameterValueError(
        f"with weight_variance {weight:g} and bias_variance {bias:g} the variance of {name}'s pre-activations "
        "vanishes, explodes or does not settle"
    )


def _smallest(series: Array, constant: float) -> float:
    """The smallest root of C(c) = c: Newton's steps on a convex function climb to it from below."""
    powers, c = np.arange(len(series)), 0.0
    for _ in range(200):
        step = (float(series @ c**powers) + constant - c) / (1 - _slope(series, c))
        c += step
        if abs(step) < SETTLED:
            break
    return c


def _slope(series: Array, c: float) -> float:
    powers = np.arange(1, len(series))
    return float((powers * series[1:]) @ c ** (powers - 1))
