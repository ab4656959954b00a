"""Normal draws confined to an interval."""

import torch
from jaxtyping import Float
from torch import Tensor

from evenflow import checks
from evenflow.init.fill import fill_truncated_normal
from evenflow.init.interval import ordered, parent_std
from evenflow.init.source import check_source
from evenflow.init.tensors import drawable
from evenflow.random import Stream


def trunc_normal_(
    tensor: Float[Tensor, "..."],
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
) -> Tensor:
    r"""Fill the tensor with normal draws confined to an interval, in place.

    $$ w_i \sim N(mean, std^2) \mid a \le w_i \le b $$

    `a` and `b` are absolute, not counted in standard deviations: with the default of 2 and std 0.02, nothing
    is cut. The distribution is exact for every interval, however far from the mean, and no element of any
    dtype is outside.

    Args:
        tensor: A floating-point tensor.
        mean: Mean before truncation.
        std: Standard deviation before truncation; at 0, every element is the mean moved into the interval.
        a: Smallest value, or -inf.
        b: Largest value, or inf, not below `a`.
        generator: Where the key of the draws comes from; None is torch's default generator.
        stream: The addressed stream to draw from, in place of a generator.

    Returns:
        The same tensor.

    Raises:
        TensorDtypeError: The tensor is not floating-point (an interval has no meaning for complex numbers).
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `std` is negative, an argument is NaN, `a` is above `b`, or generator and stream
            are both given.

    Examples:
        >>> weight = trunc_normal_(torch.empty(1000), a=4.0, b=400.0)
        >>> bool((weight >= 4).all()), bool((weight <= 400).all())
        (True, True)

    References:
        Drop-in for `torch.nn.init.trunc_normal_`, which draws again until all elements fit.
    """
    drawable(tensor, real=True)
    low, high = ordered("a", a, "b", b, infinite=True)
    centre, scale = checks.real("mean", mean), checks.real("std", std, low=0)
    check_source(generator, stream)
    return fill_truncated_normal(tensor, centre, scale, low, high, generator=generator, stream=stream)


def truncated_normal_(
    tensor: Float[Tensor, "..."],
    mean: float = 0.0,
    std: float = 1.0,
    low: float = -2.0,
    high: float = 2.0,
    *,
    corrected: bool = False,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
) -> Tensor:
    r"""Fill the tensor with normal draws confined to an interval, in place.

    $$ w_i \sim N(mean, s^2) \mid low \le w_i \le high $$

    with $s$ the nominal `std`, as in `trunc_normal_`, or, corrected, such that the draws themselves have the standard
    deviation `std`. Keras and JAX count their cut-offs in standard deviations: their cut at 2 is
    `low=mean - 2 * std, high=mean + 2 * std` here.

    Args:
        tensor: A floating-point tensor.
        mean: Mean before truncation.
        std: Standard deviation before truncation, or, `corrected`, after it; at 0, every element is the mean moved into
            the interval.
        low: Smallest value, or -inf.
        high: Largest value, or inf, not below `low`.
        corrected: Whether `std` is that of the result.
        generator: Where the key of the draws comes from; None is torch's default generator.
        stream: The addressed stream to draw from, in place of a generator.

    Returns:
        The same tensor.

    Raises:
        TensorDtypeError: The tensor is not floating-point (an interval has no meaning for complex numbers).
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `std` is negative, an argument is NaN, `low` is above `high`, no distribution on the
            interval has the corrected `std`, or generator and stream are both given.

    Examples:
        >>> weight = truncated_normal_(torch.empty(1000), std=0.02, low=-0.04, high=0.04)
        >>> bool((weight.abs() <= 0.04).all())
        True
        >>> weight = truncated_normal_(torch.empty(100_000), std=0.02, low=-0.04, high=0.04, corrected=True)
        >>> round(weight.std().item(), 3)
        0.02
    """
    drawable(tensor, real=True)
    bottom, top = ordered("low", low, "high", high, infinite=True)
    centre, scale = checks.real("mean", mean), checks.real("std", std, low=0)
    check_source(generator, stream)
    if corrected:
        scale = parent_std(centre, scale, bottom, top)
    return fill_truncated_normal(tensor, centre, scale, bottom, top, generator=generator, stream=stream)
