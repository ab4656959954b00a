"""T9: He's rule against slow convergence, over depth."""

from collections.abc import Sequence

from torch import nn

from evenflow.lab import (
    Budget,
    Figure,
    Measurement,
    Panel,
    Prediction,
    Results,
    Trial,
    Verdict,
    grid,
    judge,
    steps_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, initialise_, mlp

ID = "T9"
TITLE = "He avoids slow convergence"
STATEMENT = "He's initialisation avoids slow convergence of deep ReLU networks."
SOURCE = "notes: Kaiming initialisation; He et al. 2015, figures 2 and 3"
PREDICTION = Prediction(
    "ReLU networks of 10, 20, 30 and 50 layers take at most 0.8 of the steps with He's weights that they take with "
    "Glorot's, to "
    "half of a guess's loss, each at its best learning rate.",
    layers_10=(None, 0.8),
    layers_20=(None, 0.8),
    layers_30=(None, 0.8),
    layers_50=(None, 0.8),
)

WIDTH, LIMIT, TARGET = 48, 200, 1.15
DEPTHS = (10, 20, 30, 50)
RATES = (0.003, 0.01, 0.03)
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Two schemes, four depths, three learning rates."""
    schemes = ("he_normal", "glorot_normal")
    return grid(budget.seeds(6, 16, 40), scheme=schemes, depth=DEPTHS, rate=RATES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train to the target."""
    return train_group(trials, _network, Recipe(rate=0.01, steps=LIMIT, optimiser="momentum"), TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    return initialise_(mlp([features, *[WIDTH] * (trial["depth"] - 1), classes], "relu"), trial["scheme"], trial.seed)


def verdict(results: Results) -> Verdict:
    """Ratios of steps at every depth."""
    best = tuned(results, LIMIT, "scheme", "depth")
    he, glorot = {"scheme": "he_normal"}, {"scheme": "glorot_normal"}
    checks = [
        steps_check(
            PREDICTION,
            f"layers_{depth}",
            *best.where(depth=depth).pairs("steps", he, glorot, ignoring=("rate",)),
            LIMIT,
            f"He's steps over Glorot's, {depth} layers",
        )
        for depth in DEPTHS
    ]
    told = ", ".join(f"{check.estimate:.2f} ({depth} layers)" for check, depth in zip(checks, DEPTHS, strict=True))
    return judge(checks, f"He's steps over Glorot's: {told}.")


def figure(results: Results) -> Figure:
    """Steps against depth."""
    best = tuned(results, LIMIT, "scheme", "depth")
    lines = tuple(group.line(scheme, "depth", "steps") for scheme, group in best.by("scheme").items())
    deepest = tuple(
        group.where(depth=30).curve_line(scheme, "step", "loss") for scheme, group in best.by("scheme").items()
    )
    return Figure(
        "Steps to the target against depth, medians and quartiles (the mark at the top: never within the budget), "
        "and the loss "
        "of 30 layers.",
        (
            Panel("Steps to the target", "layers", "steps", lines, log_y=True),
            Panel("30 layers", "step", "training loss", deepest, expected=((TARGET, "target"),)),
        ),
    )
