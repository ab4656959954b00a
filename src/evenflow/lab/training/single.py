"""Train one network."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow.clip import clip_grad_norm_
from evenflow.data import Split
from evenflow.lab.training.batches import batch_order
from evenflow.lab.training.recipe import BEYOND, Recipe, Run

MOMENTUM = 0.9


def train(model: nn.Module, data: Split, recipe: Recipe, seed: int) -> Run:
    """Train a classifier in place by cross-entropy.

    Args:
        model: The network, in training mode.
        data: Training and test set.
        recipe: How.
        seed: What the order of the batches follows from.

    Examples:
        >>> from evenflow.lab.training import initialise_, load_split, mlp
        >>> model = initialise_(mlp([64, 32, 10], "relu"), "he_normal", seed=0)
        >>> run = train(model, load_split("digits"), Recipe(rate=0.1, steps=60), seed=0)
        >>> run.final < 1.0
        True
    """
    optimiser = _optimiser(model, recipe)
    losses: list[float] = []
    measured: list[tuple[int, float]] = []
    for step, rows in enumerate(batch_order(len(data.inputs), recipe.batch, recipe.steps, seed), start=1):
        loss = F.cross_entropy(model(data.inputs[rows]), data.targets[rows])
        losses.append(loss.item())
        if not math.isfinite(losses[-1]) or losses[-1] > BEYOND:
            return Run(tuple(losses), *_columns(measured), recipe.smoothing, diverged=True)
        optimiser.zero_grad()
        loss.backward()
        if math.isfinite(recipe.max_norm):
            clip_grad_norm_(model.parameters(), recipe.max_norm)
        optimiser.step()
        if recipe.measured_at(step):
            measured.append((step, accuracy(model, data)))
    return Run(tuple(losses), *_columns(measured), recipe.smoothing)


@torch.no_grad()
def accuracy(model: nn.Module, data: Split) -> float:
    """Share of the test set that the model, in evaluation mode, classifies rightly; every mode is put back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        right: Tensor = model(data.test_inputs).argmax(dim=1) == data.test_targets
    finally:
        for module, training in modes:
            module.training = training
    return float(right.float().mean())


def _optimiser(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    if recipe.optimiser == "adam":
        return torch.optim.Adam(model.parameters(), recipe.rate)
    return torch.optim.SGD(model.parameters(), recipe.rate, momentum=MOMENTUM * (recipe.optimiser == "momentum"))


def _columns(measured: list[tuple[int, float]]) -> tuple[tuple[int, ...], tuple[float, ...]]:
    return tuple(step for step, _ in measured), tuple(share for _, share in measured)
