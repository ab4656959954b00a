"""Uniform and normal draws with given parameters, whatever the layer."""

import torch
from jaxtyping import Inexact
from torch import Tensor

from evenflow import checks
from evenflow.init.fill import fill_normal, fill_uniform
from evenflow.init.interval import ordered
from evenflow.init.source import check_source
from evenflow.init.tensors import drawable
from evenflow.random import Stream


def uniform_(
    tensor: Inexact[Tensor, "..."],
    a: float = 0.0,
    b: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
) -> Tensor:
    r"""Fill the tensor with uniform draws, in place.

    $$ w_i \sim U[a, b) $$

    The real and the imaginary parts of a complex tensor are drawn from the interval each, as torch does. Rounding to a
    smaller dtype does not reach `b` either.

    Args:
        tensor: A floating-point or complex tensor.
        a: Lower bound.
        b: Upper bound, not below `a`.
        generator: Where the key of the draws comes from; None is torch's default generator.
        stream: The addressed stream to draw from, in place of a generator.

    Returns:
        The same tensor.

    Raises:
        TensorDtypeError: The tensor is neither floating-point nor complex.
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: A bound is NaN or infinite, `a` is above `b`, or generator and stream are both
            given.

    Examples:
        >>> weight = uniform_(torch.empty(3, 5), -0.1, 0.1)
        >>> bool((weight.abs() <= 0.1).all())
        True

    References:
        Drop-in for `torch.nn.init.uniform_`.
    """
    drawable(tensor)
    low, high = ordered("a", a, "b", b, infinite=False)
    check_source(generator, stream)
    return fill_uniform(tensor, low, high, generator=generator, stream=stream)


def normal_(
    tensor: Inexact[Tensor, "..."],
    mean: float = 0.0,
    std: float = 1.0,
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
) -> Tensor:
    r"""Fill the tensor with normal draws, in place.

    $$ w_i \sim N(mean, std^2) $$

    The real and the imaginary parts of complex numbers have half the variance each, and `mean` is real.

    Args:
        tensor: A floating-point or complex tensor.
        mean: Mean.
        std: Standard deviation (not variance), at least 0.
        generator: Where the key of the draws comes from; None is torch's default generator.
        stream: The addressed stream to draw from, in place of a generator.

    Returns:
        The same tensor.

    Raises:
        TensorDtypeError: The tensor is neither floating-point nor complex.
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `std` is negative, an argument is NaN or infinite, or generator and stream are
            both given.

    Examples:
        >>> weight = normal_(torch.empty(100, 100), std=0.02)
        >>> round(weight.std().item(), 2)
        0.02

    References:
        Drop-in for `torch.nn.init.normal_`.
    """
    drawable(tensor)
    centre, scale = checks.real("mean", mean), checks.real("std", std, low=0)
    check_source(generator, stream)
    return fill_normal(tensor, centre, scale, generator=generator, stream=stream)


def random_uniform_(
    tensor: Inexact[Tensor, "..."],
    low: float = 0.0,
    high: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
) -> Tensor:
    """Fill the tensor as `uniform_` does, with `low` and `high` for `a` and `b`: its name in Keras.

    A network whose weights are drawn from U(0, 1) saturates: each weight has mean 1/2, so a pre-activation
    grows with the fan-in. Where a layer is to keep its signal, use `glorot_uniform_` or `he_uniform_`.

    Examples:
        >>> weight = random_uniform_(torch.empty(100, 100))
        >>> round(weight.mean().item(), 1)
        0.5
    """
    drawable(tensor)
    bottom, top = ordered("low", low, "high", high, infinite=False)
    check_source(generator, stream)
    return fill_uniform(tensor, bottom, top, generator=generator, stream=stream)


def random_normal_(
    tensor: Inexact[Tensor, "..."],
    mean: float = 0.0,
    std: float = 1.0,
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
) -> Tensor:
    """Fill the tensor as `normal_` does, which has the same arguments: its name in Keras.

    With weights from N(0, 1), the variance of a pre-activation is the fan-in times that of the input: tanh
    and sigmoid saturate, and ReLU networks explode. Where a layer is to keep its signal, use `glorot_normal_`
    or `he_normal_`.

    Examples:
        >>> weight = random_normal_(torch.empty(100, 100))
        >>> round(weight.std().item(), 1)
        1.0
    """
    return normal_(tensor, mean, std, generator, stream=stream)
