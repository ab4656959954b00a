"""Clipping the gradient of each example by its own norm, before they are added up."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from evenflow import checks
from evenflow.clip.by_norm import as_limit
from evenflow.clip.sharded import is_sharded, refuse_flat_parameters
from evenflow.errors import BatchError, LossError, NoParametersError, ParameterTypeError, ShardingError
from evenflow.uncompiled import uncompiled


@dataclass(frozen=True, slots=True)
class PerExample:
    """What clipping by example found and did.

    Attributes:
        norms: Norm of the gradient of each example before clipping, in float64.
        losses: Loss of each example.
        clipped: Share of the examples that were clipped.
        dropped: How many examples had a gradient that is not finite, and count as zero.
    """

    norms: Float[Tensor, " example"]
    losses: Float[Tensor, " example"]
    clipped: float
    dropped: int


@uncompiled
def backward_per_example_(
    model: nn.Module,
    loss_fn: Callable[..., Tensor],
    inputs: Tensor,
    targets: Tensor,
    max_norm: float,
    *,
    reduction: str = "mean",
    chunk_size: int | None = None,
) -> PerExample:
    r"""Add to `.grad` the mean of the examples' gradients, each clipped by its own norm.

    $$
    g \mathrel{+}= \frac{1}{n} \sum_{i=1}^{n} g_i \cdot \min\!\left(1, \frac{\text{max\_norm}}{\|g_i\|_2}\right),
    \qquad g_i = \nabla_\theta \, \ell(f_\theta(x_i), y_i)
    $$

    One example then weighs at most `max_norm` / n, whatever it is: a wrong label or a long sequence cannot outweigh the
    batch. It is used in place of `loss.backward()`. All gradients are computed at once with `torch.func`. Buffers are
    read and not written, so BatchNorm, whose statistics join the examples, has to be in eval mode.

    Args:
        model: Its parameters that require a gradient are differentiated by.
        loss_fn: `loss_fn(output, target)` of a batch of one, returning a scalar, such as `nn.CrossEntropyLoss()`.
        inputs: Examples along the first dimension.
        targets: Likewise.
        max_norm: At least 0; infinity clips nothing, and only drops what is not finite.
        reduction: "mean" or "sum".
        chunk_size: How many examples are differentiated at once; None is all. Fewer take less memory: that of one copy
            of the model's gradients for each.

    Returns:
        The norms and losses, and how many examples were clipped.

    Raises:
        ParameterValueError: An argument is out of range.
        ParameterTypeError: An argument has the wrong type.
        BatchError: There are no examples, or the two numbers of examples differ.
        LossError: The loss of an example is not a scalar.
        NoParametersError: No parameter requires a gradient.
        ShardingError: A parameter is spread over processes.

    Examples:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> inputs, targets = torch.tensor([[1.0], [1.0]]), torch.tensor([[0.0], [100.0]])
        >>> with torch.no_grad():
        ...     model.weight.fill_(1.0)
        Parameter containing:
        tensor([[1.]], requires_grad=True)
        >>> done = backward_per_example_(model, nn.MSELoss(), inputs, targets, max_norm=4.0)
        >>> done.norms.tolist(), model.weight.grad
        ([2.0, 198.0], tensor([[-1.]]))

    References:
        Abadi et al. 2016, "Deep learning with differential privacy", Algorithm 1.
    """
    limit = as_limit(max_norm)
    checks.choice("reduction", reduction, ["mean", "sum"])
    size = None if chunk_size is None else checks.integer("chunk_size", chunk_size, low=1)
    trained = _trained(model)
    count = _count(inputs, targets)
    fixed = {name: p for name, p in model.named_parameters() if name not in trained} | dict(model.named_buffers())

    def loss_of(parameters: dict[str, Tensor], example: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        output = torch.func.functional_call(model, {**fixed, **parameters}, (example.unsqueeze(0),))
        loss = loss_fn(output, target.unsqueeze(0))
        if not isinstance(loss, Tensor) or loss.dim():
            got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise LossError(f"loss_fn must return a scalar for one example; got {got}: use a mean or a sum")
        return loss, loss.detach()

    differentiate: Any = torch.func.grad(loss_of, has_aux=True)
    each: Any = torch.func.vmap(differentiate, in_dims=(None, 0, 0), randomness="different")
    leaves = {name: parameter.detach() for name, parameter in trained.items()}
    sums: dict[str, Tensor] = {}
    norms, losses = [], []
    for part in zip(inputs.split(size or count), targets.split(size or count), strict=True):
        gradients, loss = each(leaves, *part)
        part_norms = _norms(gradients)
        _add_clipped_(sums, gradients, part_norms, limit)
        norms.append(part_norms)
        losses.append(loss)
    _add_to_grad_(trained, sums, 1 / count if reduction == "mean" else 1.0)
    found = torch.cat(norms)
    finite = found.isfinite()
    clipped = float((found[finite] > limit).sum()) / count
    return PerExample(found, torch.cat(losses), clipped, int((~finite).sum()))


def _trained(model: object) -> dict[str, nn.Parameter]:
    if not isinstance(model, nn.Module):
        raise ParameterTypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    refuse_flat_parameters(model)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not trained:
        raise NoParametersError("model has no parameter that requires a gradient")
    if any(map(is_sharded, trained.values())):
        raise ShardingError(
            "gradients of single examples cannot be taken of sharded parameters; use a model that is whole"
        )
    return trained


def _count(inputs: Any, targets: Any) -> int:
    for name, tensor in (("inputs", inputs), ("targets", targets)):
        if not isinstance(tensor, Tensor):
            raise ParameterTypeError(
                f"{name} must be a tensor with the examples along its first dimension; got {tensor!r}"
            )
        if tensor.dim() == 0 or len(tensor) == 0:
            raise BatchError(f"{name} must hold at least one example; got shape {tuple(tensor.shape)}")
    if len(inputs) != len(targets):
        raise BatchError(f"inputs and targets must be as many; got {len(inputs)} and {len(targets)}")
    return len(inputs)


def _norms(gradients: dict[str, Tensor]) -> Tensor:
    """Compute the norm of each example's gradient, safe from overflow."""
    of_each = [gradient.flatten(1).double() for gradient in gradients.values()]
    largest = torch.stack([part.abs().amax(1) for part in of_each if part.shape[1]]).amax(0)
    scale = torch.where((largest > 0) & (largest < math.inf), largest, 1.0)
    squares = [(part / scale[:, None]).square().sum(1) for part in of_each]
    return torch.stack(squares).sum(0).sqrt() * scale


def _add_clipped_(sums: dict[str, Tensor], gradients: dict[str, Tensor], norms: Tensor, limit: float) -> None:
    finite = norms.isfinite()
    factors = torch.where(norms > limit, limit / norms, 1.0)
    for name, gradient in gradients.items():
        kept = gradient[finite]
        total = torch.tensordot(factors[finite].to(gradient.dtype), kept, dims=1)
        sums[name] = sums[name] + total if name in sums else total


def _add_to_grad_(trained: dict[str, nn.Parameter], sums: dict[str, Tensor], share: float) -> None:
    with torch.no_grad():
        for name, parameter in trained.items():
            gradient = sums[name] * share
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
