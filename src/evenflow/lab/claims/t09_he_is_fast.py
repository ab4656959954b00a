"""T9: He's rule against slow convergence, over depth."""

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
    steps_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, initialise_, mlp

ID = "T9"
TITLE = "He avoids slow convergence"
STATEMENT = "He's initialisation avoids slow convergence of deep ReLU networks."
SOURCE = "notes: Kaiming initialisation; He et al. 2015, figures 2 and 3"
PREDICTION = Prediction(
    "ReLU networks take at most 0.8 of the steps with He's weights that they take with Glorot's, to half of a "
    "guess's loss, each "
    "at its best learning rate of Adam: at 10 layers, and at 20, 30 and 50 (on average; 50 not at the quick budget).",
    shallow=(None, 0.8),
    deep=(None, 0.8),
)

WIDTH, LIMIT, TARGET = 48, 200, 1.15
RATES = (0.0003, 0.002)
SHALLOW = 10
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Two schemes, several depths, two learning rates."""
    return grid(
        budget.seeds(8, 16, 40),
        scheme=("he_normal", "glorot_normal"),
        depth=budget.pick((10, 20, 30), (10, 20, 30, 50), (10, 20, 30, 50)),
        rate=RATES,
        data=budget.data or "digits",
    )


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train to the target."""
    return train_group(trials, _network, Recipe(rate=0.01, steps=LIMIT, optimiser="adam"), TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    return initialise_(mlp([features, *[WIDTH] * (trial["depth"] - 1), classes], "relu"), trial["scheme"], trial.seed)


def verdict(results: Results) -> Verdict:
    """Ratios of steps at 10 layers, and over the deeper ones."""
    best = tuned(results, LIMIT, "scheme", "depth")
    he, glorot = {"scheme": "he_normal"}, {"scheme": "glorot_normal"}
    depths = list(best.by("depth"))
    steps = {d: best.where(depth=d).pairs("steps", he, glorot, ignoring=("rate",)) for d in depths}
    deeper = [depth for depth in depths if depth > SHALLOW]
    ours, theirs = (
        np.exp(np.mean([np.log(np.minimum(steps[depth][side], LIMIT)) for depth in deeper], axis=0)) for side in (0, 1)
    )
    checks = [
        steps_check(PREDICTION, "shallow", *steps[SHALLOW], LIMIT, f"He's steps over Glorot's, {SHALLOW} layers"),
        steps_check(PREDICTION, "deep", ours, theirs, LIMIT, "the same, more layers"),
    ]
    arrived, others = (sum(int((steps[depth][side] < np.inf).sum()) for depth in deeper) for side in (0, 1))
    return judge(
        checks,
        f"He's steps are {checks[0].estimate:.2f} of Glorot's at {SHALLOW} layers and {checks[1].estimate:.2f} in "
        "deeper "
        f"networks, of which {arrived} arrive within {LIMIT} steps with He's weights and {others} "
        "with Glorot's.",
    )


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
