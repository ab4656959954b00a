"""He's (Kaiming's) initialisation: for rectifiers, which halve the second moment."""

import warnings

import torch
from jaxtyping import Inexact
from torch import Tensor

from evenflow import checks
from evenflow.callers import stack_level
from evenflow.init.gains import calculate_gain
from evenflow.init.scaled import fill_scaled
from evenflow.init.tensors import drawable
from evenflow.random import Stream
from evenflow.theory import Fans

_MODES = ("fan_in", "fan_out")


def he_uniform_(
    tensor: Inexact[Tensor, "..."],
    slope: float = 0.0,
    mode: str = "fan_in",
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by He's rule with uniform draws, in place.

    $$
    w_i \sim U[-a, a), \quad a = \sqrt{\frac{6}{(1 + \text{slope}^2)\,\text{fan}}}, \quad
    \mathrm{Var}(w) = \frac{a^2}{3} = \frac{2}{(1 + \text{slope}^2)\,\text{fan}}
    $$

    The 6 under the root is often misread as an epsilon.

    Args:
        tensor: As for `variance_scaling_`.
        slope: Negative slope of the rectifier that follows: 0 for ReLU, 0.01 for torch's Leaky-ReLU.
        mode: "fan_in" keeps the size of the signals, "fan_out" that of the gradients.
        generator: As for `variance_scaling_`.
        stream: As for `variance_scaling_`.
        fans: As for `variance_scaling_`.

    Returns:
        The same tensor.

    Raises:
        ParameterValueError: `slope` is NaN or infinite, or `mode` is unknown.
        EvenflowError: What `variance_scaling_` raises for such a tensor, source or fans.

    Examples:
        >>> weight = he_uniform_(torch.empty(50, 600))
        >>> bool((weight.abs() <= 0.1).all())
        True

    References:
        He et al. 2015, "Delving deep into rectifiers", equations 10, 14 and 15.
    """
    return _he(tensor, slope, mode, "uniform", fans=fans, generator=generator, stream=stream)


def he_normal_(
    tensor: Inexact[Tensor, "..."],
    slope: float = 0.0,
    mode: str = "fan_in",
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by He's rule with normal draws, in place.

    $$
    w_i \sim N(0, \sigma^2), \quad \sigma = \sqrt{\frac{2}{(1 + \text{slope}^2)\,\text{fan}}}
    $$

    The second argument of $N(0, \sigma)$ in many notes is this standard deviation. The draws are not truncated; Keras's
    are: see `variance_scaling_`. Arguments, result and errors are those of `he_uniform_`.

    Examples:
        >>> weight = he_normal_(torch.empty(500, 200))
        >>> round(weight.std().item(), 2)
        0.1

    References:
        He et al. 2015, "Delving deep into rectifiers", equations 10, 14 and 15.
    """
    return _he(tensor, slope, mode, "normal", fans=fans, generator=generator, stream=stream)


def kaiming_uniform_(
    tensor: Inexact[Tensor, "..."],
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by He's rule with uniform draws and the gain of an activation, in place.

    $$ w_i \sim U[-b, b), \quad b = \text{gain} \sqrt{3 / \text{fan}} $$

    A tensor without elements is returned with a warning, as by torch.

    Args:
        tensor: As for `variance_scaling_`.
        a: Negative slope of the rectifier that follows; used with "leaky_relu" only, as in torch.
        mode: "fan_in" keeps the size of the signals, "fan_out" that of the gradients.
        nonlinearity: The activation that follows, by any name that `calculate_gain` knows.
        generator: As for `variance_scaling_`.
        stream: As for `variance_scaling_`.
        fans: As for `variance_scaling_`.

    Returns:
        The same tensor.

    Raises:
        UnknownActivationError: No activation is known by this name.
        ParameterValueError: `a` is NaN or infinite, or `mode` is unknown.
        EvenflowError: What `variance_scaling_` raises for such a tensor, source or fans.

    Examples:
        >>> weight = kaiming_uniform_(torch.empty(3, 5), nonlinearity="gelu")
        >>> weight.shape
        torch.Size([3, 5])

    References:
        He et al. 2015, "Delving deep into rectifiers", equations 10, 14 and 15.
        Drop-in for `torch.nn.init.kaiming_uniform_`.
    """
    return _kaiming(
        tensor, a, mode, nonlinearity, distribution="uniform", fans=fans, generator=generator, stream=stream
    )


def kaiming_normal_(
    tensor: Inexact[Tensor, "..."],
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by He's rule with normal draws and the gain of an activation, in place.

    $$ w_i \sim N(0, \sigma^2), \quad \sigma = \text{gain} / \sqrt{\text{fan}} $$

    Arguments, result and errors are those of `kaiming_uniform_`.

    Examples:
        >>> weight = kaiming_normal_(torch.empty(500, 200))
        >>> round(weight.std().item(), 2)
        0.1

    References:
        He et al. 2015, "Delving deep into rectifiers", equations 10, 14 and 15.
        Drop-in for `torch.nn.init.kaiming_normal_`.
    """
    return _kaiming(tensor, a, mode, nonlinearity, distribution="normal", fans=fans, generator=generator, stream=stream)


def _he(
    tensor: Tensor,
    slope: float,
    mode: str,
    distribution: str,
    *,
    fans: Fans | None,
    generator: torch.Generator | None,
    stream: Stream | None,
) -> Tensor:
    leak = checks.real("slope", slope)
    scale = 2.0 / (1.0 + leak * leak)
    checks.choice("mode", mode, _MODES)
    return fill_scaled(tensor, scale, mode, distribution, fans=fans, generator=generator, stream=stream)


def _kaiming(
    tensor: Tensor,
    a: float,
    mode: str,
    nonlinearity: str,
    *,
    distribution: str,
    fans: Fans | None,
    generator: torch.Generator | None,
    stream: Stream | None,
) -> Tensor:
    slope = checks.real("a", a)
    gain = calculate_gain(nonlinearity, slope if nonlinearity == "leaky_relu" else None)
    # torch takes "FAN_IN" too.
    which = checks.choice("mode", mode.lower() if isinstance(mode, str) else mode, _MODES)
    if drawable(tensor).numel() == 0:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=stack_level())
        return tensor
    return fill_scaled(tensor, gain**2, which, distribution, fans=fans, generator=generator, stream=stream)
