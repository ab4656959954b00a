"""T10: whether He's rule calms the way to the minimum."""

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
    Series,
    Trial,
    Verdict,
    grid,
    judge,
    ratio_check,
    share_difference_check,
)
from evenflow.lab.claims._swings import both_train, largest_rate_that_trains, median_of_trained, train_swinging
from evenflow.lab.claims._tuned import counted, pilot_seeds
from evenflow.lab.training import initialise_, mlp

ID = "T10"
TITLE = "He and oscillation"
STATEMENT = "He's initialisation avoids oscillation on the way to the minimum."
SOURCE = "notes: Kaiming initialisation"
PREDICTION = Prediction(
    "At the same learning rate and on the same batches, the loss of a ReLU network of five hidden layers oscillates "
    "less around its trend with He's weights than with Glorot's, and than with weights of twice He's standard "
    "deviation at the largest learning rate at which both train: at most 0.9 of the standard deviation of the "
    "detrended logarithm of the loss, over the steps after the first tenth, in runs that train. At the learning rate "
    "0.02 at least half of the runs more are lost with N(0, 1) than with He's: they diverge, or end no better than a "
    "guess.",
    glorot=(None, 0.9),
    double=(None, 0.9),
    lost=(0.5, None),
)

WIDTH, DEPTH, STEPS, RATE, TARGET = 64, 5, 300, 0.02, 1.15
RATES = (0.005, RATE, 0.08)
SCHEMES = ("he_normal", "glorot_normal", "double", "random_normal")
TOLD = {"he_normal": "He", "glorot_normal": "Glorot", "double": "twice He", "random_normal": "N(0, 1)"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Four schemes at the same learning rate, and two of them at a smaller and a larger one."""
    data, seeds = budget.data or "digits", budget.seeds(16, 80, 100)
    same = grid(seeds, scheme=SCHEMES, rate=RATE, data=data)
    others = grid(seeds, scheme=("he_normal", "double"), rate=[r for r in RATES if r != RATE], data=data)
    return same + others


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train, and measure how the loss swings around its trend."""
    return train_swinging(trials, _network, STEPS, TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * DEPTH, classes], "relu")
    if trial["scheme"] == "double":
        return initialise_(model, "variance_scaling", trial.seed, scale=4 * 2.0, mode="fan_in")
    return initialise_(model, trial["scheme"], trial.seed)


def verdict(results: Results) -> Verdict:
    """Ratios of the swings of runs that train; those that are lost are counted apart."""
    same, he = results.where(rate=RATE), {"scheme": "he_normal"}
    glorot = both_train(*same.pairs("swing", he, {"scheme": "glorot_normal"}))
    rate = _common_rate(results)
    double = both_train(*counted(results).where(rate=rate).pairs("swing", he, {"scheme": "double"}))
    lost, kept = same.pairs("lost", {"scheme": "random_normal"}, he)
    effect = "swing of He's loss over that of"
    checks = [
        ratio_check(PREDICTION, "glorot", *glorot, f"{effect} Glorot's, rate {RATE}"),
        ratio_check(PREDICTION, "double", *double, f"{effect} weights twice as large, rate {rate}"),
        share_difference_check(PREDICTION, "lost", lost, kept, "share of runs lost with N(0, 1) beyond He's"),
    ]
    signs = {s: np.nanmean(same.where(scheme=s).values("sign_changes")) for s in ("he_normal", "glorot_normal")}
    return judge(
        checks,
        f"He's loss swings {checks[0].estimate:.2f} times as far around its trend as Glorot's, and "
        f"{checks[1].estimate:.2f} times as far as with weights twice as large at the rate {rate}, the largest at "
        f"which both train. With N(0, 1) {lost.sum():.0f} of {len(lost)} runs are lost, with He's {kept.sum():.0f}. "
        f"Shares of steps that change sign: {signs['he_normal']:.2f} (He), {signs['glorot_normal']:.2f} (Glorot).",
    )


def _common_rate(results: Results) -> float:
    """The largest rate at which both He's weights and those twice as large train, on seeds that do not count."""
    pair = results.where(scheme=["he_normal", "double"])
    return largest_rate_that_trains(pair.where(seed=pilot_seeds(pair)))


def figure(results: Results) -> Figure:
    """One run of each scheme, the swings of those that train, and how many are lost."""
    same = results.where(rate=RATE)
    first = min(row.trial.seed for row in same)
    curves = tuple(
        Series(TOLD[scheme], tuple(row.curves["step"]), tuple(row.curves["loss"]))
        for scheme in SCHEMES
        for row in same.where(scheme=scheme, seed=first)
    )
    swings = {TOLD[s]: median_of_trained(same.where(scheme=s), "swing") for s in SCHEMES}
    swings = {name: swing for name, swing in swings.items() if np.isfinite(swing)}
    lost = tuple(float(same.where(scheme=scheme).values("lost").mean()) for scheme in SCHEMES)
    swinging = Series("swing", tuple(swings), tuple(swings.values()))
    return Figure(
        f"All at the learning rate {RATE}. One run of each: the loss of every batch; with N(0, 1) it is too large from "
        "the first step on. Swings: how far the loss swings around its trend, medians of the runs that train (where "
        "none does, there is no dot). Runs that are lost: the share of those that diverge, or end no better than a "
        "guess.",
        (
            Panel("One run of each", "step", "loss of the batch", curves, log_y=True),
            Panel("Swings of runs that train", "initial weights", "swing", (swinging,), "bars"),
            Panel(
                "Runs that are lost", "initial weights", "share", (Series("lost", tuple(TOLD.values()), lost),), "bars"
            ),
        ),
    )
