"""The gain of an activation: what its layer's weights must make up for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.theory.activation_lookup import activation
from evenflow.theory.activations import Activation
from evenflow.theory.callables import array_function, name_of
from evenflow.theory.quadrature import sample

# How far from 1 a slope may be by rounding, and how small a derivative may be in proportion.
_NEUTRAL = 1e-6
_FLAT = 1e-20


@dataclass(frozen=True)
class Gain:
    r"""What an activation $f$ does to a standard normal pre-activation $z$.

    Attributes:
        forward: $\mathbb{E}[f(z)^2]^{-1/2}$. Weights of standard deviation forward / sqrt(fan_in) keep the
            second moment of the pre-activations at 1.
        backward: $\mathbb{E}[f'(z)^2]^{-1/2}$. Weights of standard deviation backward / sqrt(fan_out) keep
            the second moment of the gradients. Infinite where the derivative is zero almost everywhere.
        slope: Derivative of the variance map at its fixed point 1: by how much a small excess of variance is
            multiplied in each layer.
        stable: Whether abs(slope) <= 1 + 1e-6. The slope of a homogeneous activation, such as ReLU, is
            exactly 1: an excess of variance stays as it is.
        mean: $\mathbb{E}[f(z)]$.
        second_moment: $\mathbb{E}[f(z)^2]$.
        closed_form: The forward gain as a formula, where there is one.
        name: The activation.
    """

    forward: float
    backward: float
    slope: float
    stable: bool
    mean: float
    second_moment: float
    closed_form: str | None
    name: str


def gain(name_or_callable: str | Callable[..., Any], param: float | None = None) -> Gain:
    r"""Compute the gain of an activation, and whether it can be relied on in depth.

    A layer with weights of variance $g^2 / \text{fan\_in}$, where $g^2 = 1 / \mathbb{E}[f(z)^2]$, maps
    the variance $q$ of its pre-activations to

    $$
    V(q) = g^2 \, \mathbb{E}[f(\sqrt q z)^2], \qquad z \sim N(0, 1), \qquad V(1) = 1, \qquad
    V'(1) = \tfrac12 \left( \frac{\mathbb{E}[z^2 f(z)^2]}{\mathbb{E}[f(z)^2]} - 1 \right).
    $$

    The gain alone makes 1 a fixed point, not a stable one. With slope $V'(1) > 1$, as for GELU, SiLU and
    Mish, an excess of variance grows from layer to layer and a lack of it vanishes, whatever the care taken
    at the first layer.

    Args:
        name_or_callable: A name of the catalogue (see `activation`), or any elementwise function or module,
            of NumPy or torch. A module is measured in evaluation mode. Functions are evaluated on [-20, 20].
        param: The parameter of a named activation, such as the negative slope of "leaky_relu".

    Returns:
        The gains, the slope and the moments, to about ten digits.

    Raises:
        UnknownActivationError: No activation is known by this name.
        ParameterTypeError: It is neither a name nor callable, or `param` is not a number.
        ParameterValueError: The activation takes no such `param`; or the callable raises, is random, grows
            too fast, or is zero everywhere.
        TensorShapeError: The callable returns another shape than it is given.
        NonFiniteError: The callable returns NaN or infinity.

    Examples:
        >>> import numpy as np
        >>> round(gain("relu").forward, 6), gain("relu").closed_form
        (1.414214, 'sqrt(2)')
        >>> round(gain(lambda x: x / (1 + np.exp(-x))).slope, 3)
        1.173
        >>> gain("silu").stable
        False

    References:
        He et al. (2015), "Delving deep into rectifiers", equation 10. Poole et al. (2016), "Exponential
        expressivity in deep neural networks through transient chaos", equation 3. Schoenholz et al. (2017),
        "Deep information propagation", section 3.
    """
    if isinstance(name_or_callable, str):
        return _measure_named(activation(name_or_callable, param))
    if not callable(name_or_callable):
        raise ParameterTypeError(
            f"name_or_callable must be the name of an activation or a function; got {name_or_callable!r}"
        )
    if param is not None:
        raise ParameterValueError(f"param belongs to a named activation; got {param!r} with a callable: bind it there")
    return _measure(Activation(name_of(name_or_callable), array_function(name_or_callable)))


def _measure(known: Activation) -> Gain:
    with np.errstate(over="ignore"):
        sampled = sample(known.function, known.kinks)
        squares = sampled.values**2
        second_moment = sampled.expect(squares)
    if not 0 < second_moment < math.inf:
        raise ParameterValueError(
            f"the activation {known.name} must have a second moment in (0, inf) under N(0, 1); "
            f"got {second_moment}: no gain can make up for that"
        )
    slope = (sampled.expect(squares * sampled.points**2) / second_moment - 1) / 2
    derivative_moment = sampled.expect(sampled.derivative() ** 2)
    is_flat = derivative_moment <= _FLAT * second_moment
    return Gain(
        forward=1 / math.sqrt(second_moment),
        backward=math.inf if is_flat else 1 / math.sqrt(derivative_moment),
        slope=slope,
        stable=abs(slope) <= 1 + _NEUTRAL,
        mean=sampled.expect(sampled.values),
        second_moment=second_moment,
        closed_form=known.closed_form,
        name=known.name,
    )


# Not for callables: the cache would keep them alive, and a module may change.
_measure_named = lru_cache(maxsize=256)(_measure)
