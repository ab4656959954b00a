"""Batch normalisation as one formula of torch functions, to any order of differentiation."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evenflow.norm.activations import activate, carry_back
from evenflow.norm.shapes import all_but_channel, beside


class Parts(NamedTuple):
    """What is normalised, or the gradients of that.

    Attributes:
        x: The batch, (batch, channel, ...).
        weight: One scale a channel, or None.
        bias: One shift a channel, or None.
        residual: Added before the activation, of the shape of the batch, or None.
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    residual: Tensor | None

    def there(self) -> list[Tensor]:
        """List the parts that are not None."""
        return [part for part in self if part is not None]

    def filled(self, others: Iterable[Any]) -> tuple[Any, ...]:
        """Put others in the places of the parts that are not None, in their order."""
        following = iter(others)
        return tuple(None if part is None else next(following) for part in self)


class _Lines(NamedTuple):
    """The lines of Algorithm 1, in float64, so that a mean that is large beside the deviation cancels nothing."""

    mean: Tensor
    variance: Tensor
    inverse: Tensor
    unit: Tensor
    z: Tensor


def normalized(parts: Parts, moments: Tensor | None, eps: float, activation: str | None) -> tuple[Tensor, Tensor]:
    """Return the output and, detached, the moments that it was made with.

    Args:
        parts: What is normalised.
        moments: Mean and biased variance, (2, channel) in float64; None takes those of the batch.
        eps: Added to the variance.
        activation: Its name, or None.
    """
    lines = _lines(parts, moments, eps)
    return activate(activation, lines.z).to(parts.x.dtype), torch.stack((lines.mean, lines.variance)).detach()


def carried_back(dy: Tensor, parts: Parts, moments: Tensor | None, eps: float, activation: str | None) -> Parts:
    """Return the gradients of the parts.

    Args:
        dy: Gradient of the output.
        parts: What was normalised.
        moments: Given ones; None takes those of the batch, and the gradient goes through them.
        eps: Added to the variance.
        activation: Its name, or None.
    """
    x, weight, bias, residual = parts
    lines, over = _lines(parts, moments, eps), all_but_channel(x)
    g = carry_back(activation, dy.double(), lines.z)
    d_bias, d_weight = g.sum(over), (g * lines.unit).sum(over)
    scale = lines.inverse if weight is None else lines.inverse * weight.double()
    lost = (
        0.0
        if moments is not None
        else (beside(x, d_bias) + lines.unit * beside(x, d_weight)) / (x.numel() / x.shape[1])
    )
    return Parts(
        ((g - lost) * beside(x, scale)).to(x.dtype),
        None if weight is None else d_weight.to(weight.dtype),
        None if bias is None else d_bias.to(bias.dtype),
        None if residual is None else g.to(residual.dtype),
    )


def _lines(parts: Parts, moments: Tensor | None, eps: float) -> _Lines:
    x, weight, bias, residual = parts
    wide = x.double()
    if moments is None:
        mean = wide.mean(all_but_channel(x))
        variance = (wide - beside(x, mean)).square().mean(all_but_channel(x))
    else:
        mean, variance = moments.unbind()
    inverse = (variance + eps).rsqrt()
    unit = (wide - beside(x, mean)) * beside(x, inverse)
    z = unit if weight is None else unit * beside(x, weight.double())
    z = z if bias is None else z + beside(x, bias.double())
    z = z if residual is None else z + residual.double()
    return _Lines(mean, variance, inverse, unit, z)
