"""Batch normalisation with its activation as operators: for autograd, for compilers and exporters, for vmap.

Ordinary code goes through `Normalization`, which costs 30 microseconds a step where an operator costs 80. Traced and
transformed code goes through the operators `evenflow::batch_norm` and `evenflow::batch_norm_backward`. Both keep the
input and two numbers a channel for the backward pass, and neither the output nor what the activation is applied to.
"""

from typing import Any

import torch
from torch import Tensor

from evenflow.norm import arrays
from evenflow.norm.formula import Parts, normalized

Gradients = tuple[Tensor | None, ...]
Settings = tuple[float, str | None, bool]


def normalize(parts: Parts, moments: Tensor | None, eps: float, activation: str | None) -> tuple[Tensor, Tensor]:
    """Return the output, and the moments: mean and biased variance, (2, channel) in float64.

    Args:
        parts: What is normalised, on the CPU.
        moments: Given ones; None takes those of the batch, and the gradient goes through them.
        eps: Added to the variance.
        activation: Its name, or None.
    """
    way: Any = batch_norm if is_transformed() else Normalization.apply
    y, used = way(*parts, moments, eps, activation)
    return y, used


def is_transformed() -> bool:
    """Tell whether this call is traced, vectorised or seen by a mode, so that it must be an operator."""
    return (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or torch._C._len_torch_dispatch_stack() > 0
    )


class Normalization(torch.autograd.Function):
    """`normalize` of plain tensors."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        """Compute it, and keep what it takes to go back."""
        *parts, moments, eps, activation = arguments
        y, used = _forward(Parts(*parts), moments, eps, activation)
        _keep(ctx, arguments, (y, used))
        return y, used

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> Gradients:
        """Carry a gradient back."""
        if dy is None:
            return (None,) * 7
        way: Any = NormalizationBackward.apply
        return (*way(dy, *ctx.saved_tensors, *ctx.settings), None, None, None)


class NormalizationBackward(torch.autograd.Function):
    """The backward pass of `Normalization`, which can be differentiated in turn."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Parts:
        """Compute it, and keep what it takes to differentiate it."""
        dy, *parts, moments, eps, activation, given = arguments
        ctx.save_for_backward(*arguments[:6])
        ctx.settings = (eps, activation, given)
        ctx.set_materialize_grads(False)
        return _backward(dy, Parts(*parts), moments, eps, activation, given)

    @staticmethod
    def backward(ctx: Any, *d_gradients: Tensor | None) -> Gradients:
        """Carry gradients of gradients back."""
        dy, *parts, moments = ctx.saved_tensors
        return _second_order(dy, Parts(*parts), moments, ctx.settings, d_gradients)


def _forward(parts: Parts, moments: Tensor | None, eps: float, activation: str | None) -> tuple[Tensor, Tensor]:
    found = arrays.kernel(parts.x, parts.residual, activation)
    if found is not None:
        return arrays.forward(found, parts, moments, eps)
    with torch.no_grad():
        y, used = normalized(parts, moments, eps, activation)
    return torch.empty_like(parts.x).copy_(y), used


def _backward(dy: Tensor, parts: Parts, moments: Tensor, eps: float, activation: str | None, given: bool) -> Parts:
    found = arrays.kernel(parts.x, parts.residual, activation)
    if found is not None:
        return arrays.backward(found, dy, parts, moments, eps, given=given)
    inputs = parts.filled(part.detach().requires_grad_() for part in parts.there())
    with torch.enable_grad():
        y, _ = normalized(inputs, moments if given else None, eps, activation)
    gradients = torch.autograd.grad(y, inputs.there(), dy)
    return parts.filled(torch.empty_like(part).copy_(d) for part, d in zip(parts.there(), gradients, strict=True))


def _second_order(dy: Tensor, parts: Parts, moments: Tensor, settings: Settings, d_gradients: Gradients) -> Gradients:
    """Differentiate the backward pass, as the derivative of the derivative of the formula.

    The inputs take a name of their own first, since the gradient of the output may depend on them too.
    """
    eps, activation, given = settings
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        dy, inputs = _renamed(dy), parts.filled(map(_renamed, parts.there()))
        y, _ = normalized(inputs, moments if given else None, eps, activation)
        firsts = inputs.filled(torch.autograd.grad(y, inputs.there(), dy, create_graph=True))
        pairs = [
            (first, d) for first, d in zip(firsts, d_gradients, strict=True) if first is not None and d is not None
        ]
        through, arriving = zip(*pairs, strict=True)
        d_dy, *others = torch.autograd.grad(
            through, [dy, *inputs.there()], arriving, allow_unused=True, create_graph=again
        )
    return (d_dy, *inputs.filled(others), None, None, None, None)


def _renamed(part: Tensor) -> Tensor:
    return part.view_as(part) if part.requires_grad else part.detach().requires_grad_()


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *parts, moments, eps, activation = inputs
    ctx.save_for_backward(*parts, output[1])
    ctx.settings = (eps, activation, moments is not None)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


@torch.library.custom_op("evenflow::batch_norm", mutates_args=(), device_types="cpu")
def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, moments: Tensor | None,
    eps: float, activation: str | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`normalize` as an operator."""
    y, used = _forward(Parts(x, weight, bias, residual), moments, eps, activation)
    return y, used.clone()


@torch.library.custom_op("evenflow::batch_norm_backward", mutates_args=(), device_types="cpu")
def batch_norm_backward(
    dy: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, moments: Tensor,
    eps: float, activation: str | None, given: bool,
) -> list[Tensor]:  # fmt: skip
    """Return the gradients of the parts that are there."""
    return _backward(dy, Parts(x, weight, bias, residual), moments, eps, activation, given).there()


@batch_norm.register_fake
def _(x: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty((2, x.shape[1]), dtype=torch.float64)


@batch_norm_backward.register_fake
def _(
    _: Tensor, x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, *__: object
) -> list[Tensor]:
    return [torch.empty_like(part) for part in Parts(x, weight, bias, None if residual is None else x).there()]


def _carry_back(ctx: Any, dy: Tensor | None, _: Tensor | None) -> Gradients:
    if dy is None:
        return (None,) * 7
    *parts, _ = ctx.saved_tensors
    gradients = Parts(*parts).filled(batch_norm_backward(dy, *ctx.saved_tensors, *ctx.settings))
    return (*gradients, None, None, None)


def _keep_all(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:  # noqa: ARG001 - torch names it
    ctx.save_for_backward(*inputs[:6])
    ctx.settings = inputs[6:]


def _carry_back_twice(ctx: Any, d_gradients: list[Tensor]) -> Gradients:
    dy, *parts, moments = ctx.saved_tensors
    return _second_order(dy, Parts(*parts), moments, ctx.settings, Parts(*parts).filled(d_gradients))


batch_norm.register_autograd(_carry_back, setup_context=_keep)
batch_norm_backward.register_autograd(_carry_back_twice, setup_context=_keep_all)


@batch_norm.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Lay the vectorised dimension beside the channels: each of its entries has statistics of its own."""
    *tensors, eps, activation = arguments
    y, used = batch_norm(*_folded(tensors, dims, (1, 0, 0, 1, 1), info.batch_size), eps, activation)
    return (_unfolded(y, 1, info.batch_size), _unfolded(used, 1, info.batch_size)), (1, 1)


@batch_norm_backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[list[Tensor], list[int]]:
    *tensors, eps, activation, given = arguments
    channels = (1, 1, 0, 0, 1, 1)
    gradients = batch_norm_backward(*_folded(tensors, dims, channels, info.batch_size), eps, activation, given)
    places = [at for at, part in zip(channels[1:5], tensors[1:5], strict=True) if part is not None]
    return [_unfolded(d, at, info.batch_size) for d, at in zip(gradients, places, strict=True)], places


def _folded(
    tensors: list[Tensor | None], dims: tuple[int | None, ...], channels: tuple[int, ...], size: int
) -> list[Any]:
    """Join the vectorised dimension and that of the channels; a tensor without the first is repeated."""
    folded: list[Tensor | None] = []
    for part, dim, channel in zip(tensors, dims, channels, strict=False):
        if part is None:
            folded.append(None)
            continue
        if dim is None:
            beside = part.unsqueeze(channel).expand(*part.shape[:channel], size, *part.shape[channel:])
        else:
            beside = part.movedim(dim, channel)
        folded.append(beside.flatten(channel, channel + 1))
    return folded


def _unfolded(part: Tensor, channel: int, size: int) -> Tensor:
    split: Tensor = part.unflatten(channel, (size, -1))
    return split
