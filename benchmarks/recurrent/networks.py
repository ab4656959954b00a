"""Many networks trained side by side: one batched product for all, one clipper for each."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evenflow import clip
from recurrent.problems import Problem

Clippers = Callable[[Iterable[tuple[str, Tensor]]], clip.Clipper]

METHODS: dict[str, Clippers | None] = {
    "none": None,
    "norm 1": lambda named: clip.NormClipper(named, 1.0),
    "value 0.1": lambda named: clip.ValueClipper(named, 0.1),
    "adaptive 0.01": lambda named: clip.AdaptiveClipper(named, 0.01, exclude=["output"]),
    "auto 10 %": clip.AutoClipper,
    "z 2.5": clip.ZClipper,
    "z 2.5, norm 1": lambda named: clip.ZClipper(named, max_norm=1.0),
}


@dataclass(frozen=True)
class Run:
    """One network: how it is clipped, how fast it learns, and its seed."""

    method: str
    rate: float
    seed: int


class Networks:
    """The parameters of all networks, stacked; each network has views of its own, and a clipper."""

    def __init__(self, problem: Problem, runs: list[Run]) -> None:
        self.problem, self.runs = problem, runs
        starts = [_start(problem, run.seed) for run in runs]
        self.stacks = {name: torch.stack([start[name] for start in starts]).requires_grad_() for name in starts[0]}
        for stack in self.stacks.values():
            stack.grad = torch.zeros_like(stack)
        self.views = [
            [(name, nn.Parameter(stack.detach()[place])) for name, stack in self.stacks.items()]
            for place in range(len(runs))
        ]
        makers = [METHODS[run.method] for run in runs]
        self.clippers = [make(named) if make else None for make, named in zip(makers, self.views, strict=True)]

    def step(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Take one step of gradient descent in all networks; return the loss of each."""
        for stack in self.stacks.values():
            stack.grad.zero_()
        losses = self.problem.loss(self.outputs(inputs), targets)
        losses.sum().backward()
        for place, clipper in enumerate(self.clippers):
            if clipper is not None:
                self._clip(place, clipper)
        rates = torch.tensor([run.rate for run in self.runs])
        with torch.no_grad():
            for stack in self.stacks.values():
                stack.sub_(rates.view(-1, *[1] * (stack.dim() - 1)) * stack.grad)
        return losses.detach()

    def outputs(self, inputs: Tensor) -> Tensor:
        """Run all networks on their inputs: (network, sequence, time, number)."""
        count, batch, length, width = inputs.shape
        stacks, act = self.stacks, torch.relu if self.problem.rectified else torch.tanh
        seen = torch.baddbmm(
            stacks["recurrent.bias"], inputs.reshape(count, batch * length, width), stacks["input.weight"].mT
        ).view(count, batch, length, -1)
        state, states = torch.zeros_like(seen[:, :, 0]), []
        for moment in seen.unbind(2):
            state = act(torch.baddbmm(moment, state, stacks["recurrent.weight"].mT))
            states.append(state)
        kept = torch.stack(states, 2) if self.problem.every else state
        out = torch.baddbmm(stacks["output.bias"], kept.reshape(count, -1, kept.shape[-1]), stacks["output.weight"].mT)
        return out.view(*kept.shape[:-1], -1)

    def _clip(self, place: int, clipper: clip.Clipper) -> None:
        for (_, view), stack in zip(self.views[place], self.stacks.values(), strict=True):
            view.grad = stack.grad[place]
        clipper.step()
        for (_, view), stack in zip(self.views[place], self.stacks.values(), strict=True):
            if view.grad is None:  # the step is skipped
                stack.grad[place].zero_()


def _start(problem: Problem, seed: int) -> dict[str, Tensor]:
    """Draw the first parameters of a network: of rectified ones as Le et al. (2015) do, of others as is usual."""
    drawn = torch.Generator().manual_seed(1000 + seed)
    units = problem.units
    inner, outer = (0.001, 0.001) if problem.rectified else (0.5, units**-0.5)
    orthogonal = torch.linalg.qr(torch.randn(units, units, generator=drawn))[0]
    return {
        "input.weight": inner * torch.randn(units, problem.inputs, generator=drawn),
        "recurrent.weight": torch.eye(units) if problem.rectified else orthogonal,
        "recurrent.bias": torch.zeros(1, units),
        "output.weight": outer * torch.randn(problem.outputs, units, generator=drawn),
        "output.bias": torch.zeros(1, problem.outputs),
    }
