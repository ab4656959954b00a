"""Batch normalisation with its activation as operators: for autograd, for compilers and exporters, for vmap.

Ordinary code goes through autograd functions, which cost 30 microseconds a step where operators cost 80. Traced code
goes through the operators `evenflow::batch_norm` and `evenflow::batch_norm_backward`. Both keep the
input and two numbers a channel for the backward pass, and neither the output nor what the activation is applied to.
"""

from typing import Any

import torch
from torch import Tensor, library

from evenflow.norm import arrays
from evenflow.norm.formula import Parts, carried_back, normalized
from evenflow.norm.tracing import is_differentiated_forward, is_of_a_function, is_traced

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
    if is_differentiated_forward():
        return normalized(parts, moments, eps, activation)
    if is_traced():
        way: Any = batch_norm
    elif is_of_a_function() or (torch.is_grad_enabled() and any(part.requires_grad for part in parts.there())):
        way = Normalization.apply if is_of_a_function() else _PlainNormalization.apply
    else:
        return _forward(parts, moments, eps, activation)
    y, used = way(*parts, moments, eps, activation)
    return y, used


class Normalization(torch.autograd.Function):
    """`normalize` of plain tensors, and of those of `torch.func`."""

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:
        """Compute it."""
        *parts, moments, eps, activation = arguments
        return _forward(Parts(*parts), moments, eps, activation)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what it takes to go back."""
        *parts, moments, eps, activation = inputs
        ctx.save_for_backward(*parts, output[1])
        ctx.settings = (eps, activation, moments is not None)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> Gradients:
        """Carry a gradient back."""
        if dy is None:
            return (None,) * 7
        *parts, moments = ctx.saved_tensors
        return (*carry_back(dy, Parts(*parts), moments, ctx.settings), None, None, None)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        """Lay the vectorised dimension beside the channels: each of its entries has statistics of its own."""
        return _vectorised(Normalization.apply, info.batch_size, dims, arguments)


class _PlainNormalization(torch.autograd.Function):
    """`Normalization` outside `torch.func`: a context that is apart costs torch 45 microseconds a call."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        output = Normalization.forward(*arguments)
        Normalization.setup_context(ctx, arguments, output)
        return output

    backward = Normalization.backward


class NormalizationBackward(torch.autograd.Function):
    """The backward pass of `Normalization`, which can be differentiated in turn."""

    @staticmethod
    def forward(*arguments: Any) -> Parts:
        """Compute it."""
        dy, *parts, moments, eps, activation, given = arguments
        return _backward(dy, Parts(*parts), moments, eps, activation, given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:  # noqa: ARG004 - torch names it
        """Keep what it takes to differentiate it."""
        ctx.save_for_backward(*inputs[:6])
        ctx.settings = inputs[6:]
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *d_gradients: Tensor | None) -> Gradients:
        """Carry gradients of gradients back."""
        dy, *parts, moments = ctx.saved_tensors
        return _second_order(dy, Parts(*parts), moments, ctx.settings, d_gradients)

    @staticmethod
    def vmap(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        """Lay the vectorised dimension beside the channels."""
        gradients, places = _vectorised_backward(NormalizationBackward.apply, info.batch_size, dims, arguments)
        return tuple(gradients), tuple(places)


def carry_back(dy: Tensor, parts: Parts, moments: Tensor, settings: Settings) -> Gradients:
    """Carry a gradient back, by whatever way the call allows.

    Args:
        dy: Gradient of the output.
        parts: What was normalised.
        moments: With which: mean and biased variance, (2, channel) in float64.
        settings: What was added to the variance, the activation, and whether the moments were given.
    """
    if torch._C._functorch.is_legacy_batchedtensor(dy):  # several gradients at once
        eps, activation, given = settings
        return carried_back(dy, parts, moments if given else None, eps, activation)
    if torch.is_grad_enabled() or is_of_a_function():
        differentiable: Any = NormalizationBackward.apply
        gradients: Gradients = differentiable(dy, *parts, moments, *settings)
        return gradients
    return _backward(dy, parts, moments, *settings)


def _forward(parts: Parts, moments: Tensor | None, eps: float, activation: str | None) -> tuple[Tensor, Tensor]:
    found = arrays.kernel(parts, activation)
    if found is not None:
        return arrays.forward(found, parts, moments, eps)
    y, used = normalized(Parts(*parts.filled(part.detach() for part in parts.there())), moments, eps, activation)
    return torch.empty_like(parts.x).copy_(y), used


def _backward(dy: Tensor, parts: Parts, moments: Tensor, eps: float, activation: str | None, given: bool) -> Parts:
    found = arrays.kernel(parts, activation)
    if found is not None:
        return arrays.backward(found, dy, parts, moments, eps, given=given)
    inputs = Parts(*parts.filled(part.detach() for part in parts.there()))
    gradients = carried_back(dy.detach(), inputs, moments if given else None, eps, activation)
    laid_out = Parts(parts.x, parts.weight, parts.bias, None if parts.residual is None else parts.x)
    copies = (torch.empty_like(part).copy_(d) for part, d in zip(laid_out.there(), gradients.there(), strict=True))
    return Parts(*parts.filled(copies))


def _second_order(dy: Tensor, parts: Parts, moments: Tensor, settings: Settings, d_gradients: Gradients) -> Gradients:
    """Differentiate the formula of the backward pass.

    The inputs take a name of their own first, since the gradient of the output may depend on them too.
    """
    if all(d is None for d in d_gradients):
        return (None,) * 9
    eps, activation, given = settings
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        dy, inputs = _renamed(dy), Parts(*parts.filled(map(_renamed, parts.there())))
        firsts = carried_back(dy, inputs, moments if given else None, eps, activation)
        pairs = [
            (first, d)
            for first, d in zip(firsts, d_gradients, strict=True)
            if first is not None and d is not None and first.requires_grad
        ]
        wanted = [part for part in (dy, *inputs.there()) if part.requires_grad]
        if not pairs or not wanted:
            return (None,) * 9
        through, arriving = zip(*pairs, strict=True)
        seconds = iter(torch.autograd.grad(through, wanted, arriving, allow_unused=True, create_graph=again))
    d_dy, *others = (next(seconds) if part.requires_grad else None for part in (dy, *inputs.there()))
    return (d_dy, *inputs.filled(others), None, None, None, None)


def _renamed(part: Tensor) -> Tensor:
    return part.view_as(part) if part.requires_grad else part


@library.custom_op("evenflow::batch_norm", mutates_args=(), device_types="cpu")
def batch_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, residual: Tensor | None, moments: Tensor | None,
    eps: float, activation: str | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """`normalize` as an operator."""
    y, used = _forward(Parts(x, weight, bias, residual), moments, eps, activation)
    return y, used.clone()


@library.custom_op("evenflow::batch_norm_backward", mutates_args=(), device_types="cpu")
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


def _carry_back_twice(ctx: Any, d_gradients: list[Tensor]) -> Gradients:
    dy, *parts, moments = ctx.saved_tensors
    return _second_order(dy, Parts(*parts), moments, ctx.settings, Parts(*parts).filled(d_gradients))


batch_norm.register_autograd(_carry_back, setup_context=Normalization.setup_context)
batch_norm_backward.register_autograd(_carry_back_twice, setup_context=NormalizationBackward.setup_context)


@batch_norm.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
    return _vectorised(batch_norm, info.batch_size, dims, arguments)


@batch_norm_backward.register_vmap
def _(info: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[list[Tensor], list[int]]:
    gradients, places = _vectorised_backward(batch_norm_backward, info.batch_size, dims, arguments)
    there = [at for at, gradient in enumerate(gradients) if gradient is not None]
    return [gradients[at] for at in there], [places[at] for at in there]


def _vectorised(function: Any, size: int, dims: tuple[int | None, ...], arguments: tuple[Any, ...]) -> tuple[Any, Any]:
    *tensors, eps, activation = arguments
    y, used = function(*_folded(tensors, dims, (1, 0, 0, 1, 1), size), eps, activation)
    return (_unfolded(y, 1, size), _unfolded(used, 1, size)), (1, 1)


def _vectorised_backward(
    function: Any, size: int, dims: tuple[int | None, ...], arguments: tuple[Any, ...]
) -> tuple[list[Any], list[Any]]:
    *tensors, eps, activation, given = arguments
    places = (1, 1, 0, 0, 1, 1)
    gradients = function(*_folded(tensors, dims, places, size), eps, activation, given)
    parts = Parts(*tensors[1:5])
    aligned = parts.filled(gradient for gradient in gradients if gradient is not None)
    unfolded = [None if d is None else _unfolded(d, at, size) for d, at in zip(aligned, places[1:5], strict=True)]
    return unfolded, [None if d is None else at for d, at in zip(aligned, places[1:5], strict=True)]


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
