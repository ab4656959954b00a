r"""Normalisation over the memory of its input, which the backward pass recovers from the output.

$$
\hat x = \frac{f^{-1}(y) - \beta}{\gamma}
$$

The output is what the next layer keeps anyway, so that nothing is kept for this one but two numbers a channel.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from evenflow.norm import arrays
from evenflow.norm.formula import Parts, carried_back, normalized
from evenflow.norm.shapes import beside
from evenflow.norm.tracing import has_wrappers, is_recorded, is_watched, values_are_hidden

INVERTIBLE = (None, "leaky_relu")
"""Activations whose argument can be told from their value to its last digits; not so with a plateau."""
_LEAK = 0.01
# A smaller gamma beside beta would leave less than half of the digits of a float32 input. Half types have too few.
_LEAST_SCALE = 2.0**-10
_WIDE = (torch.float32, torch.float64)


def normalize_here(parts: Parts, eps: float, activation: str | None) -> tuple[Tensor, Tensor]:
    """Normalise a batch by its own statistics, over its memory.

    Args:
        parts: What is normalised, without a residual; see `can_be_here`.
        eps: Added to the variance.
        activation: One of `INVERTIBLE`.

    Returns:
        The batch, overwritten, and the moments: mean and biased variance, (2, channel) in float64.
    """
    way: Any = _Here.apply
    y, moments = way(parts.x, parts.weight, parts.bias, eps, activation)
    return y, moments


def can_be_here(parts: Parts) -> bool:
    """Tell whether the input of this call can be overwritten and recovered."""
    x, weight, bias, residual = parts
    if residual is not None or not torch.is_grad_enabled() or not x.requires_grad or x.is_leaf or values_are_hidden():
        return False
    if is_watched() or is_recorded() or has_wrappers(parts) or x._is_view() or x.dtype not in _WIDE:
        return False
    if x.device.type != "cpu" or x.numel() == 0 or not (x.is_contiguous() or x.movedim(1, -1).is_contiguous()):
        return False
    if weight is None:
        return True
    largest = 1.0 if bias is None else max(1.0, bias.detach().abs().max().item())
    return weight.detach().abs().min().item() >= _LEAST_SCALE * largest


class _Here(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, activation: str | None
    ) -> Any:
        parts = Parts(x, weight, bias, None)
        found = arrays.kernel(parts, activation, here=True)
        if found is None:
            y, moments = normalized(
                Parts(*parts.filled(part.detach() for part in parts.there())), None, eps, activation
            )
            x.copy_(y)
        else:
            _, moments = arrays.forward(found, parts, None, eps, here=True)
        ctx.mark_dirty(x)
        ctx.mark_non_differentiable(moments)
        ctx.save_for_backward(x, weight, bias, moments)
        ctx.settings = (eps, activation)
        return x, moments

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, _: Tensor) -> Any:
        y, weight, bias, (mean, variance) = ctx.saved_tensors
        eps, activation = ctx.settings
        parts = Parts(_centred_input(y, weight, bias, variance, eps, activation), weight, bias, None)
        moments = torch.stack((torch.zeros_like(mean), variance))
        found = arrays.kernel(parts, activation)
        if found is None:
            inputs = Parts(*parts.filled(part.detach() for part in parts.there()))
            gradients = carried_back(dy, inputs, None, eps, activation)
        else:
            gradients = arrays.backward(found, dy, parts, moments, eps, given=False)
        return (*gradients[:3], None, None)


def _centred_input(
    y: Tensor, weight: Tensor | None, bias: Tensor | None, variance: Tensor, eps: float, activation: str | None
) -> Tensor:
    """Return the input less its mean."""
    z = y if activation is None else torch.where(y < 0, y / _LEAK, y)
    z = z if bias is None else z - beside(y, bias.to(y.dtype))
    scale = (variance + eps).rsqrt() if weight is None else (variance + eps).rsqrt() * weight.double()
    centred = torch.empty_like(y).copy_(z)
    return centred.div_(beside(y, scale.to(y.dtype)))
