r"""Wide random networks: how the variance of a signal and of its gradient go from layer to layer.

With weights of variance $\sigma_w^2 / \text{fan\_in}$ and biases of variance $\sigma_b^2$, the variance $q$ of the
pre-activations and the slope $\chi$, by which a layer multiplies the second moment of gradients and small differences
between inputs, are

$$ V(q) = \sigma_w^2\, \mathbb{E}[f(\sqrt q z)^2] + \sigma_b^2, \qquad
\chi(q) = \sigma_w^2\, \mathbb{E}[f'(\sqrt q z)^2], \qquad z \sim N(0, 1). $$
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from evenflow import checks
from evenflow.errors import ParameterValueError
from evenflow.theory.activation_lookup import activation
from evenflow.theory.quadrature import sample


@dataclass(frozen=True)
class Statistics:
    r"""What an activation $f$ makes of a normal pre-activation of variance $q$.

    Attributes:
        q: The variance.
        mean: $\mathbb{E}[f]$.
        second_moment: $\mathbb{E}[f^2]$.
        slope_moment: $\mathbb{E}[f'^2]$, the derivative taken at the pre-activation.
    """

    q: float
    mean: float
    second_moment: float
    slope_moment: float

    @property
    def variance(self) -> float:
        """Variance of the activation."""
        return max(self.second_moment - self.mean**2, 0.0)


@lru_cache(maxsize=1024)
def statistics(name: str, q: float, param: float | None = None) -> Statistics:
    """Integrate a named activation over pre-activations of variance `q`.

    Args:
        name: A name of the catalogue.
        q: The variance, above 0.
        param: The activation's parameter.

    Raises:
        ParameterTypeError: `q` is no number.
        ParameterValueError: `q` is not positive, or the activation is unknown or takes no such parameter.

    Examples:
        >>> relu = statistics("relu", 2.0)
        >>> round(relu.second_moment, 9), round(relu.slope_moment, 9)
        (1.0, 0.5)
    """
    scale = math.sqrt(checks.real("q", q, low=0, open_low=True))
    known = activation(name, param)
    sampled = sample(lambda z: known.function(scale * z), tuple(kink / scale for kink in known.kinks))
    return Statistics(
        q=q,
        mean=sampled.expect(sampled.values),
        second_moment=sampled.expect(sampled.values**2),
        slope_moment=sampled.expect(sampled.derivative() ** 2) / q,
    )


@dataclass(frozen=True)
class CriticalPoint:
    r"""Weights and biases at which depth neither shrinks nor grows a signal, its differences or its gradient.

    Attributes:
        q: Variance of the pre-activations.
        weight_variance: $\sigma_w^2$, to be divided by the fan-in.
        bias_variance: $\sigma_b^2$.
        mean: Mean of the activation that the biases have to take out of each sum; 0 where they need not.
    """

    q: float
    weight_variance: float
    bias_variance: float
    mean: float = 0.0


@lru_cache(maxsize=1024)
def critical_point(name: str, q: float, param: float | None = None, *, centred: bool = False) -> CriticalPoint:
    r"""Return the point of the critical line $\chi = 1$ at which the variance of the pre-activations stays `q`.

    $$ \sigma_w^2 = \frac{1}{\mathbb{E}[f'^2]}, \qquad \sigma_b^2 = q - \sigma_w^2\, \mathbb{E}[f^2] $$

    That variance of the biases is negative where the activation has much of a mean. Centred, the biases also hold
    $-\mathbb{E}[f] \sum_j W_{ij}$, which takes the mean out of each sum, and $\mathrm{Var}[f]$ stands for
    $\mathbb{E}[f^2]$: by the inequality of Poincare, $\mathrm{Var}[f] \le q\, \mathbb{E}[f'^2]$, so that every
    activation has a critical point at every variance.

    Args:
        name: A name of the catalogue.
        q: The variance of the pre-activations, above 0.
        param: The activation's parameter.
        centred: Whether the biases take out the mean.

    Raises:
        ParameterTypeError: `q` is no number.
        ParameterValueError: `q` is not positive; the activation is unknown, or is flat almost everywhere; or, not
            centred, it has no critical point at this variance.

    Examples:
        >>> point = critical_point("tanh", 0.5698)
        >>> round(point.weight_variance, 2), round(point.bias_variance, 3)
        (1.76, 0.05)
        >>> round(critical_point("sigmoid", 0.01, centred=True).weight_variance, 1)
        16.1

    References:
        Schoenholz et al. 2017, "Deep information propagation", sections 3 and 5. Pennington et al. 2017, "Resurrecting
        the sigmoid in deep learning through dynamical isometry", section 2.
    """
    moments = statistics(name, q, param)
    if moments.slope_moment <= 0:
        raise ParameterValueError(f"{name} is flat almost everywhere, so that no weights keep its gradient")
    weight = 1 / moments.slope_moment
    bias = q - weight * (moments.variance if centred else moments.second_moment)
    if bias < -1e-9 * q:
        raise ParameterValueError(
            f"{name} has no critical point at a variance of {q:g} without centring: its mean {moments.mean:g} weighs "
            "too much; pass centred=True"
        )
    return CriticalPoint(q, weight, max(bias, 0.0), moments.mean if centred else 0.0)
