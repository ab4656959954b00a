"""Normalisation by given statistics that gradients flow through: shared ones, as `statistics` computes them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from evenflow.norm.activations import activate
from evenflow.norm.normalize import statistics_dtype
from evenflow.norm.shapes import all_but_channel, beside
from evenflow.norm.statistics import Statistics, less_mean


def standardize(
    x: Float[Tensor, "batch channel *space"],
    statistics: Statistics,
    weight: Float[Tensor, " channel"] | None,
    bias: Float[Tensor, " channel"] | None,
    eps: float,
    *,
    activation: str | None = None,
    residual: Float[Tensor, "batch channel *space"] | None = None,
) -> Float[Tensor, "batch channel *space"]:
    r"""Normalise with the given statistics and let gradients flow through them.

    With $g_i = \partial \ell / \partial y_i$, $c_i = x_i - \mu$ and $s = (\sigma^2 + \epsilon)^{-1/2}$:

    $$
    y_i = \gamma s c_i + \beta, \quad
    \frac{\partial \ell}{\partial x_i} = \gamma s g_i, \quad
    \frac{\partial \ell}{\partial \mu} = -\gamma s \sum_i g_i, \quad
    \frac{\partial \ell}{\partial \sigma^2} = -\tfrac12 \gamma s^3 \sum_i g_i c_i, \quad
    \frac{\partial \ell}{\partial \gamma} = s \sum_i g_i c_i, \quad
    \frac{\partial \ell}{\partial \beta} = \sum_i g_i
    $$

    Args:
        x: The batch; it may be empty.
        statistics: Of the batch, or of a larger one that it is part of.
        weight: Scale of each channel.
        bias: Shift of each channel.
        eps: Added to the variance.
        activation: Applied to the output; one of `activations.ACTIVATIONS`.
        residual: Added to the normalised batch, before the activation.

    Returns:
        The output, in the dtype and memory format of `x`. Backward keeps `x` and nothing else of its size.

    Examples:
        >>> standardize(torch.tensor([[5.0]]), Statistics(*torch.tensor([[3.0], [4.0], [9.0]])), None, None, 0.0)
        tensor([[1.]])
    """
    ones = torch.ones_like(statistics.mean)
    scale = ones if weight is None else weight.to(ones.dtype)
    shift = torch.zeros_like(ones) if bias is None else bias.to(ones.dtype)
    way: Any = _Standardize.apply
    output = way(x, statistics.mean, statistics.variance, scale, shift, eps)
    return activate(activation, output if residual is None else output + residual)


class _Standardize(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        dtype = statistics_dtype(x)
        scale = (weight * torch.rsqrt(variance + eps)).to(dtype)
        return torch.addcmul(beside(x, bias.to(dtype)), less_mean(x, mean), beside(x, scale)).to(x.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004 - autograd's signature
        ctx.save_for_backward(*inputs[:4])
        ctx.eps = inputs[5]

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, variance, weight = ctx.saved_tensors
        inverse_std = torch.rsqrt(variance + ctx.eps)
        scale = weight * inverse_std
        g = dy.to(statistics_dtype(x))
        over = all_but_channel(x)
        sum_g = g.sum(over).to(mean.dtype)
        sum_gc = (g * less_mean(x, mean)).sum(over).to(mean.dtype)
        return (
            (g * beside(x, scale.to(g.dtype))).to(x.dtype),
            -scale * sum_g,
            -0.5 * scale * inverse_std.square() * sum_gc,
            inverse_std * sum_gc,
            sum_g,
            None,
        )
