"""T3: random weights against zero and constant ones; which random weights decides."""

from collections.abc import Sequence

import numpy as np
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
    paired_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, initialise_, mlp

ID = "T3"
TITLE = "Random beats zero and constant"
STATEMENT = "Random initialisation is better than zero or constant initialisation."
SOURCE = "notes: random uniform U(0, 1), random normal N(0, 1)"
PREDICTION = Prediction(
    "After 300 steps of SGD, each scheme at its best learning rate, random weights have at least 0.1 more test "
    "accuracy than "
    "the better of zeros and a constant 0.1: for draws scaled by the fans (Glorot), for N(0, 1) and for U(0, 1), in "
    "a tanh "
    "network of three hidden layers.",
    glorot=(0.1, None),
    normal=(0.1, None),
    uniform=(0.1, None),
)

WIDTH, DEPTH, LIMIT, TARGET = 64, 3, 300, 1.15
RATES = (0.01, 0.1, 0.5)
SCHEMES = ("zeros", "constant", "random_uniform", "random_normal", "glorot_normal")
RANDOM = {"glorot": "glorot_normal", "normal": "random_normal", "uniform": "random_uniform"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Five schemes, three learning rates."""
    return grid(budget.seeds(8, 24, 60), scheme=SCHEMES, rate=RATES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train for a fixed number of steps."""
    return train_group(trials, _network, Recipe(rate=0.1, steps=LIMIT), TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    options = {"val": 0.1} if trial["scheme"] == "constant" else {}
    model = mlp([features, *[WIDTH] * DEPTH, classes], "tanh")
    return initialise_(model, trial["scheme"], trial.seed, **options)


def verdict(results: Results) -> Verdict:
    """Differences of accuracy, paired by seed."""
    best = tuned(results, LIMIT, "scheme")
    alike = np.maximum(*(best.where(scheme=scheme).values("accuracy") for scheme in ("zeros", "constant")))
    checks = [
        paired_check(
            PREDICTION, name, best.where(scheme=scheme).values("accuracy"), alike, f"test accuracy gained by {scheme}"
        )
        for name, scheme in RANDOM.items()
    ]
    gains = ", ".join(f"{RANDOM[check.name]} {check.estimate:+.2f}" for check in checks)
    return judge(checks, f"Test accuracy beside the better of zeros and a constant ({alike.mean():.2f}): {gains}.")


def figure(results: Results) -> Figure:
    """Loss curves and final accuracies."""
    best = tuned(results, LIMIT, "scheme")
    curves = tuple(group.curve_line(scheme, "step", "loss") for scheme, group in best.by("scheme").items())
    return Figure(
        "Three hidden tanh layers of 64, each scheme at its best learning rate. Scaled random weights train at once; "
        "what "
        "U(0, 1) draws is nearly a constant, since all weights are positive.",
        (
            Panel("Training", "step", "training loss", curves, log_y=True),
            Panel(
                "After the budget", "scheme", "test accuracy", (best.line("accuracy", "scheme", "accuracy"),), "bars"
            ),
        ),
    )
