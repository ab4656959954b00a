"""T7: whether Glorot's rule suits the sigmoid, beside its rivals."""

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

ID = "T7"
TITLE = "Glorot and the sigmoid"
STATEMENT = "Glorot's initialisation suits the sigmoid activation."
SOURCE = "notes: Xavier initialisation; Glorot & Bengio 2010, section 4.2.1 (a factor of 4 for the sigmoid)"
PREDICTION = Prediction(
    "If it suits, no rival is clearly faster: in three sigmoid layers of 100, Glorot's steps to half of a guess's "
    "loss are at "
    "most 1.1 times those of LeCun's, of He's, and of Glorot's with 4 times the standard deviation. Each at its best "
    "learning "
    "rate, SGD with momentum.",
    lecun=(None, 1.1),
    he=(None, 1.1),
    four_times=(None, 1.1),
)

WIDTH, DEPTH, LIMIT, TARGET = 100, 3, 400, 1.15
RATES = (0.1, 0.3, 1.0)
SCHEMES = ("glorot_normal", "lecun_normal", "he_normal", "4 x glorot")
RIVALS = {"lecun": "lecun_normal", "he": "he_normal", "four_times": "4 x glorot"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Four schemes, three learning rates."""
    return grid(budget.seeds(8, 24, 60), scheme=SCHEMES, rate=RATES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train to the target."""
    return train_group(trials, _network, Recipe(rate=0.1, steps=LIMIT, optimiser="momentum"), TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * DEPTH, classes], "sigmoid")
    if trial["scheme"] == "4 x glorot":
        return initialise_(model, "variance_scaling", trial.seed, scale=16.0, mode="fan_avg")
    return initialise_(model, trial["scheme"], trial.seed)


def verdict(results: Results) -> Verdict:
    """Ratios of steps to those of each rival."""
    best = tuned(results, LIMIT, "scheme")
    checks = [
        steps_check(
            PREDICTION,
            name,
            *best.pairs("steps", {"scheme": "glorot_normal"}, {"scheme": rival}, ignoring=("rate",)),
            LIMIT,
            f"Glorot's steps over those of {rival}",
        )
        for name, rival in RIVALS.items()
    ]
    told = ", ".join(f"{check.estimate:.2f} of {RIVALS[check.name]}" for check in checks)
    return judge(checks, f"Glorot's steps are {told}.")


def figure(results: Results) -> Figure:
    """Loss curves and steps."""
    best = tuned(results, LIMIT, "scheme")
    curves = tuple(group.curve_line(scheme, "step", "loss") for scheme, group in best.by("scheme").items())
    return Figure(
        "Three sigmoid layers. At Glorot's scale the sigmoid passes a quarter of each difference on; four times the "
        "scale "
        "makes up for it.",
        (
            Panel("Training", "step", "training loss", curves, expected=((TARGET, "target"),)),
            Panel(
                "Steps to the target", "scheme", "steps", (best.line("steps", "scheme", "steps"),), "bars", log_y=True
            ),
        ),
    )
