"""Many recurrent networks that learn to add two marked numbers of a long sequence: one product for all of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

UNITS, BATCH = 32, 10
# The loss of an output of zero, with which training begins: the mean square of the sum of two numbers from U(0, 1).
AT_START = 7 / 6

Clip = Callable[[Iterable[nn.Parameter]], object]


def batches(length: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Sequences of numbers from U(0, 1), two of which are marked, one in each half; the target is their sum.

    References:
        Hochreiter & Schmidhuber 1997, "Long short-term memory", section 5.4; Le et al. 2015, section 4.1.
    """
    drawn = torch.Generator().manual_seed(seed)
    while True:
        numbers, marks = torch.rand(BATCH, length, generator=drawn), torch.zeros(BATCH, length)
        halves = torch.randint(length // 2, (2, BATCH, 1), generator=drawn)
        marks.scatter_(1, halves[0], 1.0).scatter_(1, halves[1] + length // 2, 1.0)
        yield torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)


class Adders:
    """Recurrent ReLU networks whose recurrent weights begin as the identity, in stacked parameters.

    Each learns by gradient descent at its own rate, with its own clipping.

    Args:
        seeds: For each network, what its first weights are drawn from.
        rates: For each network, its learning rate.
        clips: For each network, what clips its gradients in place; None for nothing.

    References:
        Le et al. 2015, "A simple way to initialize recurrent networks of rectified linear units".
    """

    def __init__(self, seeds: Sequence[int], rates: Sequence[float], clips: Sequence[Clip | None]) -> None:
        starts = [_start(seed) for seed in seeds]
        self.parameters = [torch.stack(parts).requires_grad_() for parts in zip(*starts, strict=True)]
        # What a clipping function is given of each network: parameters that hold its share of the gradients.
        self.holders = [[nn.Parameter(stack.detach()[i]) for stack in self.parameters] for i in range(len(seeds))]
        self.clips = list(clips)
        self.rates = torch.tensor(rates).view(-1, 1, 1)

    def step(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Take a step in all networks; return the loss of each, and the norm of its gradient before clipping."""
        losses = (self(inputs) - targets).square().flatten(1).mean(1)
        gradients = torch.autograd.grad(losses.sum(), self.parameters)
        norms = torch.stack([g.flatten(1).double().norm(dim=1) for g in gradients]).norm(dim=0)
        for number, clip in enumerate(self.clips):
            if clip is not None:
                for holder, gradient in zip(self.holders[number], gradients, strict=True):
                    holder.grad = gradient[number]
                clip(self.holders[number])
        with torch.no_grad():
            for stack, gradient in zip(self.parameters, gradients, strict=True):
                stack.sub_(self.rates * gradient)
        return losses.detach(), norms

    def __call__(self, inputs: Tensor) -> Tensor:
        """The output of every network after the last number: (networks, sequences, 1)."""
        count, batch, length, _ = inputs.shape
        into, recurrent, bias, out, out_bias = self.parameters
        seen = torch.baddbmm(bias, inputs.reshape(count, batch * length, 2), into.mT).view(count, batch, length, UNITS)
        state = torch.zeros(count, batch, UNITS)
        for moment in seen.unbind(2):
            state = torch.relu(torch.baddbmm(moment, state, recurrent.mT))
        return torch.baddbmm(out_bias, state, out.mT)


def _start(seed: int) -> tuple[Tensor, ...]:
    """Input, recurrent and output weights with their biases: Gaussian of 0.001, the identity, zeros."""
    drawn = torch.Generator().manual_seed(seed)
    into, out = (0.001 * torch.randn(shape, generator=drawn) for shape in ((UNITS, 2), (1, UNITS)))
    return into, torch.eye(UNITS), torch.zeros(1, UNITS), out, torch.zeros(1, 1)


PARAMETERS = sum(part.numel() for part in _start(0))
