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
        tensor: A weight, floating-point or complex; the parts of complex numbers have half the variance each.
        gain: Factor on the standard deviation for the activation that follows, at least 0.
        generator: Where the key of the draws comes from; None is torch's default generator.
        stream: The addressed stream to draw from, in place of a generator.
        fans: The fans of the layer, as `evenflow.fans(layer)` gives them; without them, those of the shape,
            by torch's convention (outputs, inputs, ...), which knows no groups and no stride.

    Returns:
        The same tensor.

    Raises:
        TensorShapeError: The tensor has fewer than two dimensions and no fans are given.
        TensorDtypeError: The tensor is neither floating-point nor complex.
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `gain` is negative, NaN or infinite, a fan is not positive, or generator and
            stream are both given.

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
