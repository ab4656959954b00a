"""Batch normalisation as one formula of torch functions, to any order of differentiation."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from evenflow.norm.activations import activate
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

    def filled(self, others: Iterable[Tensor]) -> "Parts":
        """Put others in the places of the parts that are not None, in their order."""
        following = iter(others)
        x, *rest = (None if part is None else next(following) for part in self)
        return Parts(self.x if x is None else x, *rest)


def normalized(parts: Parts, moments: Tensor | None, eps: float, activation: str | None) -> tuple[Tensor, Tensor]:
    """Return the output and, detached, the moments that it was made with.

    It is computed in float64, so that a mean that is large beside the deviation cancels nothing.

    Args:
        parts: What is normalised.
        moments: Mean and biased variance, (2, channel) in float64; None takes those of the batch.
        eps: Added to the variance.
        activation: Its name, or None.
    """
    x, weight, bias, residual = parts
    wide = x.double()
    if moments is None:
        mean = wide.mean(all_but_channel(x))
        variance = (wide - beside(x, mean)).square().mean(all_but_channel(x))
    else:
        mean, variance = moments.unbind()
    z = (wide - beside(x, mean)) * beside(x, (variance + eps).rsqrt())
    if weight is not None:
        z = z * beside(x, weight.double())
    if bias is not None:
        z = z + beside(x, bias.double())
    if residual is not None:
        z = z + residual.double()
    return activate(activation, z).to(x.dtype), torch.stack((mean, variance)).detach()
