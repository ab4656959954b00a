"""What the networks learn: to add two marked numbers of a long sequence, and to predict the next letter of a text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from training.tasks import text

BATCH = 10
VOCABULARY = 96


@dataclass(frozen=True)
class Problem:
    """A problem and the network for it.

    Attributes:
        name: Its name.
        inputs: Numbers that come in at each step of the sequence.
        outputs: Numbers that go out.
        units: Hidden units.
        rectified: ReLU units whose recurrent weights begin as the identity (Le et al. 2015), or tanh units whose
            weights begin orthogonal.
        every: Whether there is an output at every step of the sequence, or at the last only.
        rates: The learning rates.
        steps: Steps of training.
        guess: The loss of the best guess that does not look at the sequence.
        batches: From a seed to batches.
        loss: From outputs and targets to a loss for each network.
    """

    name: str
    inputs: int
    outputs: int
    units: int
    rectified: bool
    every: bool
    rates: tuple[float, ...]
    steps: int
    guess: float
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    loss: Callable[[Tensor, Tensor], Tensor]


def adding(length: int) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
    """Sequences of numbers from U(0, 1), two of which are marked, one in each half; the target is their sum."""

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        drawn = torch.Generator().manual_seed(seed)
        while True:
            numbers = torch.rand(BATCH, length, generator=drawn)
            marks = torch.zeros(BATCH, length)
            halves = torch.randint(length // 2, (2, BATCH, 1), generator=drawn)
            marks.scatter_(1, halves[0], 1.0).scatter_(1, halves[1] + length // 2, 1.0)
            yield torch.stack([numbers, marks], 2), (numbers * marks).sum(1, keepdim=True)

    return batches


def reading(length: int) -> Callable[[int], Iterator[tuple[Tensor, Tensor]]]:
    """Pieces of English text; the target at each letter is the next."""
    letters = text().clamp(32, 127) - 32

    def batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        drawn = torch.Generator().manual_seed(seed)
        while True:
            starts = torch.randint(len(letters) - length - 1, (BATCH,), generator=drawn)
            pieces = torch.stack([letters[start : start + length + 1] for start in starts.tolist()])
            yield F.one_hot(pieces[:, :-1], VOCABULARY).float(), pieces[:, 1:]

    return batches


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error of each network: (network, sequence, 1) beside the same."""
    return (outputs - targets).square().flatten(1).mean(1)


def surprise(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each network, in nats: (network, sequence, letter, class) beside (network, sequence, letter)."""
    return F.cross_entropy(outputs.flatten(0, 2), targets.flatten(), reduction="none").view(len(targets), -1).mean(1)


def _entropy() -> float:
    counts = torch.bincount(text().clamp(32, 127) - 32, minlength=VOCABULARY).double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log()).sum())


ADDING_RATES = (0.003, 0.01, 0.03, 0.1)
READING_RATES = (0.1, 0.3, 1.0, 3.0)
# Sum of two numbers from U(0, 1): variance 1/6.
PROBLEMS = {
    problem.name: problem
    for problem in (
        *(
            Problem(
                f"adding, length {length}", 2, 1, 32, True, False, ADDING_RATES, steps, 1 / 6, adding(length), squared
            )
            for length, steps in ((100, 400), (200, 250), (400, 120))
        ),
        Problem(
            "text, length 100",
            VOCABULARY,
            VOCABULARY,
            32,
            False,
            True,
            READING_RATES,
            150,
            _entropy(),
            reading(100),
            surprise,
        ),
    )
}
