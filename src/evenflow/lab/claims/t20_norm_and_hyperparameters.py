"""T20: how much of the plane of learning rates and initial scales trains, with and without batch normalisation."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from evenflow.lab import (
    Budget,
    Cells,
    Figure,
    Measurement,
    Panel,
    Prediction,
    Results,
    Trial,
    Verdict,
    grid,
    judge,
    ratio_check,
)
from evenflow.lab.claims._tuned import train_group
from evenflow.lab.results import Array
from evenflow.lab.training import Recipe, initialise_, mlp
from evenflow.norm import BatchNorm1d

ID = "T20"
TITLE = "Batch norm and hyper-parameters"
STATEMENT = "Batch normalisation reduces the dependence on hyper-parameters: on the learning rate and initial scale."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015, section 3.3"
PREDICTION = Prediction(
    "Of a plane of learning rates (0.003 to 10) and initial scales (0.1 to 10 times 1 / sqrt(fan_in)), at least 1.5 "
    "times the area trains with batch normalisation: three hidden layers, ReLU and tanh, half of a guess's loss within "
    "150 steps of SGD.",
    relu=(1.5, None),
    tanh=(1.5, None),
)

WIDTH, DEPTH, STEPS, BATCH, TARGET = 32, 3, 150, 32, 1.15  # half of ln 10
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)
ACTIVATIONS = ("relu", "tanh")
NORMS = {"none": None, "batch": BatchNorm1d}
TOLD = {"none": "without batch norm", "batch": "with batch norm"}
TOGETHER = ("seed", "rate", "scale")


def design(budget: Budget) -> list[Trial]:
    """The plane, for two activations, with and without normalisation."""
    return grid(
        budget.seeds(8, 24, 60),
        activation=ACTIVATIONS,
        norm=tuple(NORMS),
        rate=RATES,
        scale=SCALES,
        data=budget.data or "digits",
    )


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train at every rate from every scale."""
    return train_group(trials, _network, Recipe(rate=0.1, steps=STEPS, batch=BATCH), TARGET, every=STEPS)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * DEPTH, classes], trial["activation"], NORMS[trial["norm"]])
    return initialise_(model, "variance_scaling", trial.seed, scale=trial["scale"] ** 2, mode="fan_in")


def areas(results: Results) -> Array:
    """For each seed, the share of the plane that ends at the target or below it."""
    seeds = sorted({row.trial.seed for row in results})
    return np.array([np.mean(results.where(seed=seed).values("final_loss") <= TARGET) for seed in seeds])


def verdict(results: Results) -> Verdict:
    """Ratios of the areas, paired by seed."""
    checks, told = [], []
    for activation, group in results.by("activation").items():
        without, norm = areas(group.where(norm="none")), areas(group.where(norm="batch"))
        effect = f"area that trains with batch norm over that without, {activation}"
        checks.append(ratio_check(PREDICTION, activation, norm, without, effect))
        told.append(
            f"{activation}: {100 * norm.mean():.0f} % of the plane trains with batch norm and "
            f"{100 * without.mean():.0f} % without it ({checks[-1].estimate:.2f} times)"
        )
    return judge(checks, f"{'; '.join(told)}.")


def figure(results: Results) -> Figure:
    """The planes."""
    panels = [
        Panel(
            title=f"{activation}, {TOLD[norm]}",
            x="learning rate",
            y="initial scale",
            kind="heat",
            cells=Cells(RATES, SCALES, _plane(one), "share"),
        )
        for activation, group in results.by("activation").items()
        for norm, one in group.by("norm").items()
    ]
    return Figure(
        "Each cell is a learning rate and an initial scale (the standard deviation of the weights, in units of "
        "1 / sqrt(fan_in)); its colour is the share of seeds with which the network "
        f"gets its loss to half of a guess's within {STEPS} steps. The larger the bright area, the less it matters "
        "how the two are chosen.",
        tuple(panels),
    )


def _plane(results: Results) -> tuple[tuple[float, ...], ...]:
    return tuple(
        tuple(float(np.mean(row.where(rate=rate).values("final_loss") <= TARGET)) for rate in RATES)
        for row in (results.where(scale=scale) for scale in SCALES)
    )
