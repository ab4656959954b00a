"""T14: the largest learning rate that still trains, with and without batch normalisation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from evenflow.errors import NoResultsError
from evenflow.lab import (
    Budget,
    Check,
    Figure,
    Measurement,
    Panel,
    Prediction,
    Results,
    Series,
    Trial,
    Verdict,
    grid,
    judge,
    ratio_check,
)
from evenflow.lab.claims._tuned import train_group
from evenflow.lab.training import Recipe, initialise_, mlp
from evenflow.norm import BatchNorm1d

ID = "T14"
TITLE = "Batch normalisation and learning rates"
STATEMENT = "Batch normalisation allows a higher learning rate."
SOURCE = "notes: batch normalisation, increase in LR; Ioffe & Szegedy 2015, sections 3.3 and 4.2; Bjorck et al. 2018"
PREDICTION = Prediction(
    "The largest learning rate of SGD at which a network of three hidden layers ends 100 steps at half of a guess's "
    "loss or below is at least twice as large with batch normalisation as without, for ReLU (He's weights) and for "
    "tanh (Glorot's). Rates are powers of 2, and the largest counts, also when a smaller one failed. Ioffe & "
    "Szegedy: at 5 times its rate Inception diverges; with normalisation it trains at 30 times.",
    relu=(2, None),
    tanh=(2, None),
)

WIDTH, DEPTH, STEPS, TARGET = 64, 3, 100, 1.15  # half of ln 10
RATES = tuple(2.0**power for power in range(-4, 7))
SUITED = {"relu": "he_normal", "tanh": "glorot_normal"}
NORMS = {"none": "without normalisation", "batch": "with normalisation"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Eleven learning rates, two activations, with and without normalisation."""
    data = budget.data or "digits"
    return grid(budget.seeds(8, 24, 60), activation=tuple(SUITED), norm=tuple(NORMS), rate=RATES, data=data)


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train at every rate."""
    return train_group(trials, _network, Recipe(rate=1.0, steps=STEPS), TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    norm = BatchNorm1d if trial["norm"] == "batch" else None
    model = mlp([features, *[WIDTH] * DEPTH, classes], trial["activation"], norm)
    return initialise_(model, SUITED[trial["activation"]], trial.seed)


def largest_rates(results: Results) -> NDArray[np.float64]:
    """For every seed the largest rate at which it trains.

    Raises:
        NoResultsError: A seed trains at no rate.
    """
    found = []
    for seed in dict.fromkeys(row.trial.seed for row in results):
        rates = [row.trial["rate"] for row in results.where(seed=seed) if row.metrics["final_loss"] <= TARGET]
        if not rates:
            raise NoResultsError(f"the network of seed {seed} trains at none of the learning rates")
        found.append(max(rates))
    return np.array(found, dtype=np.float64)


def verdict(results: Results) -> Verdict:
    """Ratios of the largest rates, paired by seed."""
    checks: list[Check] = []
    told = []
    for activation, group in results.by("activation").items():
        plain, normalised = (largest_rates(group.where(norm=norm)) for norm in NORMS)
        words = f"largest learning rate that trains, with normalisation over without, {activation}"
        checks.append(ratio_check(PREDICTION, activation, normalised, plain, words))
        top = int((normalised >= RATES[-1]).sum())
        limit = f" ({top} of {len(normalised)} still train at the largest rate of all)" if top else ""
        told.append(
            f"{checks[-1].estimate:.1f} times as large for {activation}: medians {np.median(normalised):g} and "
            f"{np.median(plain):g}{limit}"
        )
    return judge(checks, f"The largest learning rate that trains is {'; '.join(told)}.")


def figure(results: Results) -> Figure:
    """The share of seeds that train at every rate."""
    panels = [
        Panel(
            title=activation,
            x="learning rate",
            y="share of seeds that train",
            series=tuple(_share(NORMS[norm], one) for norm, one in group.by("norm").items()),
            log_x=True,
        )
        for activation, group in results.by("activation").items()
    ]
    return Figure(
        f"The share of seeds whose loss after {STEPS} steps is at most half of a guess's, at every learning rate. "
        "Where a line has fallen to 0, the rate is too large.",
        tuple(panels),
    )


def _share(label: str, group: Results) -> Series:
    shares = [float((one.values("final_loss") <= TARGET).mean()) for one in group.by("rate").values()]
    return Series(label, RATES, tuple(shares))
