"""Measure on a copy, so that the model, its running statistics and its gradients stay as they are."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow.errors import BatchError, NoParametersError

Loss = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


def copied(model: nn.Module) -> nn.Module:
    """A copy in the same mode, without the gradients that have gathered in the model.

    Raises:
        NoParametersError: The model has no parameter that could be trained.
    """
    twin = copy.deepcopy(model)
    twin.zero_grad(set_to_none=True)
    if not any(parameter.requires_grad for parameter in twin.parameters()):
        raise NoParametersError("the model has no parameter that requires a gradient; call requires_grad_()")
    return twin


def checked(batch: Batch) -> Batch:
    """The batch, if it is a pair of tensors with samples.

    Raises:
        BatchError: It is something else, or empty.
    """
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2 and all(isinstance(part, Tensor) for part in batch)
    if not pair or len(batch[0]) == 0:
        raise BatchError("the batch must be (inputs, targets), two tensors of at least one sample")
    return batch[0], batch[1]


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def loss_of(model: nn.Module, batch: Batch, loss_fn: Loss | None) -> Tensor:
    """The loss; cross-entropy unless another is given.

    What is random in the model, such as dropout, draws the same at every call.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (loss_fn or F.cross_entropy)(model(batch[0]), batch[1])


def gradients_of(model: nn.Module, batch: Batch, loss_fn: Loss | None) -> tuple[float, list[Tensor]]:
    """The loss, and its gradient with respect to every trained parameter (zero for one that it does not use)."""
    parameters = trained(model)
    loss = loss_of(model, batch, loss_fn)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return loss.item(), [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@torch.no_grad()
def moved_(parameters: Sequence[nn.Parameter], start: Sequence[Tensor], direction: Sequence[Tensor], by: float) -> None:
    """Put the parameters at `start + by * direction`, in place."""
    for parameter, origin, step in zip(parameters, start, direction, strict=True):
        parameter.copy_(origin + by * step)


def norm(tensors: Sequence[Tensor]) -> float:
    """The norm of several tensors together, in float64."""
    return float(torch.stack([tensor.double().norm() for tensor in tensors]).norm())
