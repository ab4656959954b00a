"""The steps of optimisers on stacked parameters, each replica with its own learning rate."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.optim.adam import adam as torch_adam

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

    Torch's loop that makes it in one pass takes one rate, so replicas beside each other that share theirs go together.

    References:
        Kingma & Ba 2015, "Adam: a method for stochastic optimization", Algorithm 1.
    """
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    counts = [[torch.zeros(()) for _ in parameters] for _ in rates]

    @torch.no_grad()
    def update_(gradients: Sequence[Tensor]) -> None:
        for (part, rate), steps in zip(_alike(rates), counts, strict=False):
            values, given, means, squares = (
                [t[part] for t in group] for group in (parameters, gradients, first, second)
            )
            torch_adam(
                values, given, means, squares, [], steps, fused=True, amsgrad=False,
                beta1=BETA1, beta2=BETA2, lr=rate, weight_decay=0.0, eps=EPSILON, maximize=False,
            )  # fmt: skip

    return update_


def _alike(rates: Sequence[float]) -> list[tuple[slice, float]]:
    """The parts of the replicas, of neighbours, that share a rate."""
    ends = [n for n in range(1, len(rates) + 1) if n == len(rates) or rates[n] != rates[n - 1]]
    return [(slice(start, end), rates[start]) for start, end in pairwise((0, *ends))]


def _negative(rates: Sequence[float], parameters: list[Tensor]) -> list[Tensor]:
    """Minus the rates, in a shape that spreads over every parameter: (replicas, 1, ...)."""
    return [-torch.tensor(rates, dtype=p.dtype).view(-1, *[1] * (p.dim() - 1)) for p in parameters]
