"""The steps of optimisers on stacked parameters, each replica with its own learning rate."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

MOMENTUM = 0.9
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

Update = Callable[[Sequence[Tensor]], None]


def updates_of(optimiser: str) -> Callable[[list[Tensor], Sequence[float]], Update]:
    """What makes the update of an optimiser from stacked parameters, which it changes in place, and rates."""
    return {"sgd": sgd, "momentum": momentum, "adam": adam}[optimiser]


def sgd(parameters: list[Tensor], rates: Sequence[float]) -> Update:
    r"""Gradient descent, $\theta \leftarrow \theta - \eta g$."""
    steps = _negative(rates, parameters)

    @torch.no_grad()
    def update_(gradients: Sequence[Tensor]) -> None:
        torch._foreach_addcmul_(parameters, list(gradients), steps)

    return update_


def momentum(parameters: list[Tensor], rates: Sequence[float]) -> Update:
    r"""Gradient descent with torch's momentum, $v \leftarrow 0.9 v + g$, $\theta \leftarrow \theta - \eta v$."""
    steps, velocity = _negative(rates, parameters), [torch.zeros_like(p) for p in parameters]

    @torch.no_grad()
    def update_(gradients: Sequence[Tensor]) -> None:
        torch._foreach_mul_(velocity, MOMENTUM)
        torch._foreach_add_(velocity, list(gradients))
        torch._foreach_addcmul_(parameters, velocity, steps)

    return update_


def adam(parameters: list[Tensor], rates: Sequence[float]) -> Update:
    r"""Adam with torch's defaults, $\theta \leftarrow \theta - \eta\, \hat m / (\sqrt{\hat v} + 10^{-8})$.

    References:
        Kingma & Ba 2015, "Adam: a method for stochastic optimization", Algorithm 1.
    """
    steps = _negative(rates, parameters)
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    count = 0

    @torch.no_grad()
    def update_(gradients: Sequence[Tensor]) -> None:
        nonlocal count
        count += 1
        given = list(gradients)
        torch._foreach_lerp_(first, given, 1 - BETA1)
        torch._foreach_mul_(second, BETA2)
        torch._foreach_addcmul_(second, given, given, 1 - BETA2)
        below = torch._foreach_sqrt(second)
        torch._foreach_div_(below, (1 - BETA2**count) ** 0.5)
        torch._foreach_add_(below, EPSILON)
        change = torch._foreach_div(first, below)
        torch._foreach_div_(change, 1 - BETA1**count)
        torch._foreach_addcmul_(parameters, change, steps)

    return update_


def _negative(rates: Sequence[float], parameters: list[Tensor]) -> list[Tensor]:
    """Minus the rates, in a shape that spreads over every parameter: (replicas, 1, ...)."""
    return [-torch.tensor(rates, dtype=p.dtype).view(-1, *[1] * (p.dim() - 1)) for p in parameters]
