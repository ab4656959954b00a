"""Glorot's (Xavier's) initialisation: a compromise between keeping signals and keeping gradients."""

import torch
from jaxtyping import Inexact
from torch import Tensor

from evenflow import checks
from evenflow.init.scaled import fill_scaled
from evenflow.random import Stream
from evenflow.theory import Fans


def glorot_uniform_(
    tensor: Inexact[Tensor, "..."],
    gain: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by Glorot's rule with uniform draws, in place.

    $$
    w_i \sim U[-a, a), \quad a = \text{gain} \sqrt{\frac{6}{\text{fan\_in} + \text{fan\_out}}}, \quad
    \mathrm{Var}(w) = \frac{(2a)^2}{12} = \frac{2\,\text{gain}^2}{\text{fan\_in} + \text{fan\_out}}
    $$

    The 6 under the root is often misread as a sigma; it is 3, from the variance of a uniform distribution,
    times 2.

    Args:
        tensor: As for `variance_scaling_`.
        gain: Factor on the standard deviation for the activation that follows, at least 0.
        generator: As for `variance_scaling_`.
        stream: As for `variance_scaling_`.
        fans: As for `variance_scaling_`.

    Returns:
        The same tensor.

    Raises:
        ParameterValueError: `gain` is negative, NaN or infinite.
        EvenflowError: What `variance_scaling_` raises for such a tensor, source or fans.

    Examples:
        >>> weight = glorot_uniform_(torch.empty(100, 50))
        >>> bool((weight.abs() <= 0.2).all())
        True

    References:
        Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
        equation 16.
    """
    factor = checks.real("gain", gain, low=0)
    return fill_scaled(tensor, factor * factor, "fan_avg", "uniform", fans=fans, generator=generator, stream=stream)


def glorot_normal_(
    tensor: Inexact[Tensor, "..."],
    gain: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by Glorot's rule with normal draws, in place.

    $$
    w_i \sim N(0, \sigma^2), \quad \sigma = \text{gain} \sqrt{\frac{2}{\text{fan\_in} + \text{fan\_out}}}
    $$

    The second argument of $N(0, \sigma)$ in many notes is this standard deviation. Some print $\sigma =
    \sqrt{6 / (\text{fan\_in} + \text{fan\_out})}$, which gives three times the variance: the 6 belongs to
    the bound of the uniform distribution, whose variance is a third of the bound's square. The draws are not
    truncated; Keras's are: see `variance_scaling_`. Arguments, result and errors are those of `glorot_uniform_`.

    Examples:
        >>> weight = glorot_normal_(torch.empty(300, 500))
        >>> round(weight.std().item(), 2)
        0.05

    References:
        Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks",
        equation 12.
    """
    factor = checks.real("gain", gain, low=0)
    return fill_scaled(tensor, factor * factor, "fan_avg", "normal", fans=fans, generator=generator, stream=stream)


def xavier_uniform_(
    tensor: Inexact[Tensor, "..."],
    gain: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    """Fill a weight as `glorot_uniform_` does, which has the same arguments: its name in torch.

    Examples:
        >>> weight = xavier_uniform_(torch.empty(100, 50), gain=5 / 3)
        >>> bool((weight.abs() <= 1 / 3).all())
        True

    References:
        Drop-in for `torch.nn.init.xavier_uniform_`, which gives complex weights twice the variance.
    """
    return glorot_uniform_(tensor, gain, generator=generator, stream=stream, fans=fans)


def xavier_normal_(
    tensor: Inexact[Tensor, "..."],
    gain: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    """Fill a weight as `glorot_normal_` does, which has the same arguments: its name in torch.

    Examples:
        >>> weight = xavier_normal_(torch.empty(300, 500), gain=2)
        >>> round(weight.std().item(), 1)
        0.1

    References:
        Drop-in for `torch.nn.init.xavier_normal_`.
    """
    return glorot_normal_(tensor, gain, generator=generator, stream=stream, fans=fans)
