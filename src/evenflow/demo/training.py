"""Plain training, the same for every network: the same batches in the same order, optimiser and budget."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from evenflow.data import Split

EPOCHS, BATCH, LEARNING_RATE, MOMENTUM, EVERY, ORDER_SEED = 20, 64, 0.003, 0.9, 10, 0


@dataclass(frozen=True, slots=True)
class Run:
    """What one training run showed.

    Attributes:
        steps: The steps at which it was measured, the start as 0.
        loss: Mean cross-entropy on the training batch of that step.
        accuracy: Accuracy on the test set, in [0, 1].
    """

    steps: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]


def train(model: nn.Module, data: Split, tick: Callable[[], None] = lambda: None, epochs: int = EPOCHS) -> Run:
    """Train by SGD with momentum 0.9, learning rate 0.003 and batches of 64, and measure every 10 steps.

    Args:
        model: Trained in place.
        data: Training and test set.
        tick: Called after every step.
        epochs: Passes over the training set; the order of each is drawn from a fixed seed.
    """
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    order = torch.Generator().manual_seed(ORDER_SEED)
    curve: list[tuple[int, float, float]] = []
    step = 0
    for _ in range(epochs):
        for rows in torch.randperm(len(data.inputs), generator=order).split(BATCH):
            loss = cross_entropy(model(data.inputs[rows]), data.targets[rows])
            if step % EVERY == 0:
                curve.append((step, float(loss.detach()), accuracy(model, data)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            tick()
    curve.append((step, float(loss.detach()), accuracy(model, data)))
    return Run(*zip(*curve, strict=True))


def steps_of(data: Split, epochs: int = EPOCHS) -> int:
    """Number of steps that `train` takes."""
    return epochs * -(-len(data.inputs) // BATCH)


@torch.no_grad()
def accuracy(model: nn.Module, data: Split) -> float:
    """Share of the test set that the model, in evaluation mode, classifies rightly."""
    was_training = model.training
    model.eval()
    right = model(data.test_inputs).argmax(dim=1) == data.test_targets
    model.train(was_training)
    return float(right.float().mean())
