"""T2: zero initialisation learns nothing that a bias alone cannot."""

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
    paired_check,
    share_check,
    steps_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, initialise_, mlp

ID = "T2"
TITLE = "Zero weights are slow and ineffective"
STATEMENT = (
    "Zero initialisation is slow and ineffective: it needs far more steps than Glorot's or He's, if it arrives at all."
)
SOURCE = "notes: zero initialisation"
PREDICTION = Prediction(
    "A network of two hidden layers reaches a training loss of half a guess's within 300 steps of SGD when it starts "
    "with "
    "Glorot's weights (tanh) or He's (ReLU), and does not when all weights are zero: at least 5 times the steps, no "
    "run that "
    "arrives, and at least 0.5 less test accuracy. Every scheme at its best learning rate of three.",
    steps=(5, None),
    zeros_arrive=(0, 0.5),
    accuracy_lost=(0.5, None),
)

WIDTH, LIMIT, TARGET = 64, 300, 1.15  # half of ln 10
RATES = (0.03, 0.1, 0.3)
SUITED = {"tanh": "glorot_normal", "relu": "he_normal"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Zeros and the suited scheme for two activations, three learning rates, paired by batches."""
    return [
        trial
        for activation, suited in SUITED.items()
        for trial in grid(
            budget.seeds(8, 24, 60),
            activation=activation,
            scheme=("zeros", suited),
            rate=RATES,
            data=budget.data or "digits",
        )
    ]


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train, and count the steps to the target."""
    return train_group(trials, _network, Recipe(rate=0.1, steps=LIMIT), TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    return initialise_(mlp([features, WIDTH, WIDTH, classes], trial["activation"]), trial["scheme"], trial.seed)


def verdict(results: Results) -> Verdict:
    """Steps within the budget; zeros that never arrive are censored there."""
    best = tuned(results, LIMIT, "activation", "scheme")
    zeros, suited = {"scheme": "zeros"}, {"scheme": ["glorot_normal", "he_normal"]}
    slow, fast = best.pairs("steps", zeros, suited, ignoring=("rate",))
    lost = best.pairs("best_accuracy", suited, zeros, ignoring=("rate",))
    checks = [
        steps_check(PREDICTION, "steps", slow, fast, LIMIT, "steps from zeros over steps from random weights"),
        share_check(PREDICTION, "zeros_arrive", slow <= LIMIT, "share of runs from zeros that arrive"),
        paired_check(PREDICTION, "accuracy_lost", *lost, "test accuracy lost by zeros"),
    ]
    return judge(
        checks,
        f"Of {len(slow)} runs from zeros {(slow <= LIMIT).sum()} reach the target within {LIMIT} steps; random "
        "weights need "
        f"{fast.mean():.0f}. Zeros end {100 * checks[2].estimate:.0f} points of test accuracy lower.",
    )


def figure(results: Results) -> Figure:
    """Loss curves."""
    best = tuned(results, LIMIT, "activation", "scheme")
    panels = [
        Panel(
            title=activation,
            x="step",
            y="training loss",
            series=tuple(one.curve_line(scheme, "step", "loss") for scheme, one in group.by("scheme").items()),
            log_y=True,
            expected=((TARGET, "target"),),
        )
        for activation, group in best.by("activation").items()
    ]
    return Figure(
        "From zeros only the last bias learns: the loss stays where guessing is. Medians and quartiles over seeds.",
        tuple(panels),
    )
