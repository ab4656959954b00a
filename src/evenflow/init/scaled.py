r"""Draws whose variance follows from the fans: the core of the Glorot, He and LeCun families.

All of them are $\mathrm{Var}(w) = \text{scale} / n$ with $n$ the fan-in, the fan-out or a mean of both.
"""

import math

import torch
from torch import Tensor

from evenflow import checks
from evenflow.errors import ParameterTypeError
from evenflow.init.fill import fill_normal, fill_truncated_normal, fill_uniform
from evenflow.init.source import check_source
from evenflow.init.tensors import drawable
from evenflow.random import Stream
from evenflow.theory import Fans
from evenflow.theory import fans as fans_of

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")
DISTRIBUTIONS = ("normal", "truncated_normal", "uniform")

_CUT = 2.0


def fill_scaled(
    tensor: Tensor,
    scale: float,
    mode: str,
    distribution: str,
    *,
    fans: Fans | None,
    generator: torch.Generator | None,
    stream: Stream | None,
) -> Tensor:
    """Fill with draws of mean 0 and variance scale / n.

    Args:
        tensor: What to fill.
        scale: The variance times the fan, finite and not negative.
        mode: One of `MODES`.
        distribution: One of `DISTRIBUTIONS`.
        fans: The fans of the layer; without them, those of the tensor's shape.
        generator: Source of the key, where there is no stream.
        stream: The stream.
    """
    drawable(tensor, real=distribution == "truncated_normal")
    check_source(generator, stream)
    std = _std(scale, mode, _fans(tensor, fans))
    if distribution == "uniform":
        parts = 2 if tensor.is_complex() else 1
        bound = math.sqrt(3.0 / parts) * std
        return fill_uniform(tensor, -bound, bound, generator=generator, stream=stream)
    if distribution == "truncated_normal":
        untruncated = std / truncated_std(_CUT)
        cut = _CUT * untruncated
        return fill_truncated_normal(tensor, 0.0, untruncated, -cut, cut, generator=generator, stream=stream)
    return fill_normal(tensor, 0.0, std, generator=generator, stream=stream)


def truncated_std(cut: float) -> float:
    r"""Return the standard deviation of the standard normal distribution confined to [-cut, cut].

    $$ \sigma^2 = 1 - \frac{2 c\,\varphi(c)}{2 \Phi(c) - 1} $$

    Examples:
        >>> round(truncated_std(2.0), 12)
        0.879625661034
    """
    density = math.exp(-cut * cut / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * cut * density / math.erf(cut / math.sqrt(2)))


def _fans(tensor: Tensor, fans: Fans | None) -> Fans:
    """Return the given fans, checked, or those of the shape: 0 only where there is nothing to fill."""
    if fans is None:
        return fans_of(tensor)
    if not isinstance(fans, Fans):
        raise ParameterTypeError(f"fans must be an evenflow.theory.Fans or None; got {fans!r}")
    return Fans(*(checks.real(name, getattr(fans, name), low=0, open_low=True) for name in Fans._fields))


def _std(scale: float, mode: str, fans: Fans) -> float:
    """Return the standard deviation that the rule asks for."""
    fan = {
        "fan_in": fans.fan_in,
        "fan_out": fans.fan_out,
        "fan_avg": (fans.fan_in + fans.fan_out) / 2,
        "fan_geo_avg": math.sqrt(fans.fan_in * fans.fan_out),
    }[mode]
    return math.sqrt(scale / fan) if fan else 0.0
