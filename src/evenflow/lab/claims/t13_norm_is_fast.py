"""T13: with batch normalisation, fewer steps to the best accuracy of the network without."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
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
from evenflow.lab.claims._tuned import counted, pilot_seeds, train_group
from evenflow.lab.training import Recipe, initialise_, mlp
from evenflow.norm import BatchNorm1d

ID = "T13"
TITLE = "Batch normalisation is fast"
STATEMENT = "Batch normalisation makes convergence faster."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015, section 4.1 and figures 1 to 3"
PREDICTION = Prediction(
    "In the set-up of Ioffe & Szegedy's figure 1 (28 by 28 images, three hidden layers of 100 sigmoid units, batches "
    "of 60, small Gaussian weights) the network with batch normalisation reaches the best test accuracy that the one "
    "without reaches in 240 steps in at most half of its steps: when each learns at its own best rate, and when the "
    "normalised one learns at 5 times the other's best rate. Their Inception needs 31.0 million steps; with "
    "normalisation 13.3, a ratio of 0.43; at 5 times the rate 2.1, which is 0.07; at 30 times 2.7, which is 0.09.",
    tuned=(None, 0.5),
    fivefold=(None, 0.5),
)

UNITS, DEPTH, STD, BATCH = 100, 3, 0.1, 60
LIMIT, EVERY = 240, 20
# Each is 5 times the one before.
RATES = (0.04, 0.2, 1.0)
NORMS = ("none", "batch")
TOGETHER = ("seed", "rate")

Array = NDArray[np.float64]


def design(budget: Budget) -> list[Trial]:
    """With and without normalisation, three learning rates, paired by weights and batches."""
    return grid(budget.seeds(8, 24, 60), norm=NORMS, rate=RATES, data=budget.data or "mnist")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train, and measure the test accuracy on the way."""
    recipe = Recipe(rate=1.0, steps=LIMIT, batch=BATCH, optimiser="momentum", every=EVERY)
    return train_group(trials, _network, recipe, target=1.15)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    norm = BatchNorm1d if trial["norm"] == "batch" else None
    model = mlp([features, *[UNITS] * DEPTH, classes], "sigmoid", norm)
    return initialise_(model, "normal", trial.seed, std=STD)


def steps_to(results: Results, goals: Array) -> Array:
    """For each run the first step at which its test accuracy was seen to reach its goal; inf for never."""
    found = []
    for row, goal in zip(results, goals, strict=True):
        measured = zip(row.curves["measured"], row.curves["accuracy"], strict=True)
        found.append(next((step for step, share in measured if share >= goal), np.inf))
    return np.array(found)


def best_rates(results: Results) -> tuple[float, float]:
    """The best rates without and with normalisation, on seeds that do not count.

    Without, the rate of the highest accuracy; with, that of the fewest steps to the former's accuracy.
    """
    pilot = results.where(seed=pilot_seeds(results))
    plain = pilot.where(norm="none").by("rate")
    first = max(plain, key=lambda rate: plain[rate].values("best_accuracy").mean())
    goals = plain[first].values("best_accuracy")
    normalised = pilot.where(norm="batch").by("rate")
    arrivals = {rate: np.minimum(steps_to(group, goals), LIMIT).mean() for rate, group in normalised.items()}
    return first, min(arrivals, key=arrivals.__getitem__)


def verdict(results: Results) -> Verdict:
    """Ratios of steps to the best accuracy of each seed's network without normalisation."""
    left, (rate, own) = counted(results), best_rates(results)
    plain, normalised = left.where(norm="none", rate=rate), left.where(norm="batch")
    goals = plain.values("best_accuracy")
    slow, fast = steps_to(plain, goals), steps_to(normalised.where(rate=own), goals)
    fivefold = steps_to(normalised.where(rate=_five_times(rate)), goals)
    words = "steps to the best accuracy without normalisation, with over without"
    checks = [
        steps_check(PREDICTION, "tuned", fast, slow, LIMIT, f"{words}, each at its best rate"),
        steps_check(PREDICTION, "fivefold", fivefold, slow, LIMIT, f"{words}, at 5 times the rate"),
    ]
    late = int((fast > LIMIT).sum())
    early = [np.minimum(steps_to(group, 0.9 * goals), LIMIT).mean() for group in (normalised.where(rate=own), plain)]
    return judge(
        checks,
        f"Without normalisation the best test accuracy in {LIMIT} steps is {goals.mean():.3f} (rate {rate}). With it "
        f"the same takes {checks[0].estimate:.2f} of the steps (rate {own}; {late} of {len(fast)} runs never arrive), "
        f"and {checks[1].estimate:.2f} at 5 times the other's rate. Best accuracy with it: "
        f"{normalised.where(rate=own).values('best_accuracy').mean():.3f}. To nine tenths of that accuracy it takes "
        f"{early[0]:.0f} steps on average, and {early[1]:.0f} without.",
    )


def _five_times(rate: float) -> float | None:
    """The next rate; None, which no trial has, after the last."""
    return dict(pairwise(RATES)).get(rate)


def figure(results: Results) -> Figure:
    """Test accuracy and loss over the steps, each at its best rate."""
    left, rates = counted(results), best_rates(results)
    groups = [
        (f"{told} {rate:g}", left.where(norm=norm, rate=rate))
        for (norm, told), rate in zip({"none": "without, rate", "batch": "with, rate"}.items(), rates, strict=True)
    ]
    goal = float(np.median(groups[0][1].values("best_accuracy")))
    accuracy = tuple(group.curve_line(label, "measured", "accuracy") for label, group in groups)
    loss = tuple(group.curve_line(label, "step", "loss") for label, group in groups)
    return Figure(
        "Test accuracy and training loss on images of digits, three hidden layers of 100 sigmoid units, without and "
        "with batch normalisation; medians and quartiles over seeds. The dotted line is the best accuracy without "
        "normalisation: what counts is where the other curve crosses it (compare figure 1a of Ioffe & Szegedy).",
        (
            Panel("Test accuracy", "step", "test accuracy", accuracy, expected=((goal, ""),)),
            Panel("Training loss", "step", "training loss", loss, log_y=True),
        ),
    )
