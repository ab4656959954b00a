"""LeCun's initialisation: unit gain, for tanh scaled to it and for SELU."""

import torch
from jaxtyping import Inexact
from torch import Tensor

from evenflow.init.scaled import fill_scaled
from evenflow.random import Stream
from evenflow.theory import Fans


def lecun_uniform_(
    tensor: Inexact[Tensor, "..."],
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by LeCun's rule with uniform draws, in place.

    $$ w_i \sim U[-a, a), \quad a = \sqrt{3 / \text{fan\_in}}, \quad \mathrm{Var}(w) = 1 / \text{fan\_in} $$

    Arguments, result and errors are those of `variance_scaling_`.

    Examples:
        >>> weight = lecun_uniform_(torch.empty(500, 100))
        >>> round(weight.std().item(), 2)
        0.1

    References:
        LeCun et al. 1998, "Efficient BackProp", equation 16. Klambauer et al. 2017, "Self-normalizing neural
        networks", use it with SELU.
    """
    return fill_scaled(tensor, 1.0, "fan_in", "uniform", fans=fans, generator=generator, stream=stream)


def lecun_normal_(
    tensor: Inexact[Tensor, "..."],
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight by LeCun's rule with normal draws, in place.

    $$ w_i \sim N(0, \sigma^2), \quad \sigma = \sqrt{1 / \text{fan\_in}} $$

    The draws are not truncated; those of Keras and JAX are: see `variance_scaling_`. Arguments, result, errors and
    references are those of `lecun_uniform_`.

    Examples:
        >>> weight = lecun_normal_(torch.empty(500, 100))
        >>> round(weight.std().item(), 2)
        0.1
    """
    return fill_scaled(tensor, 1.0, "fan_in", "normal", fans=fans, generator=generator, stream=stream)
