"""T15: whether batch normalisation calms the way to the minimum."""

from collections.abc import Sequence

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
from evenflow.lab.claims._swings import both_train, median_of_trained, train_swinging
from evenflow.lab.claims._tuned import counted, tuned
from evenflow.lab.training import initialise_, mlp
from evenflow.norm import BatchNorm1d

ID = "T15"
TITLE = "Batch normalisation and oscillation"
STATEMENT = "With batch normalisation the loss oscillates less on its way to the minimum."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015, section 4.2 (learning rates)"
PREDICTION = Prediction(
    "ReLU networks of five hidden layers on the same batches, at the learning rate that suits the network without "
    "normalisation best: with it the loss swings at most 0.9 times as far around its trend, over the steps after the "
    "first tenth, in runs that train. That holds in both readings, for swings as a share of the loss (the standard "
    "deviation of the detrended logarithm) and for swings of the loss itself. At the learning rate 2.5, far above "
    "what suits either, at least half of the runs more are lost without normalisation than with it (Ioffe & Szegedy: "
    "the baseline diverges at 5 times its rate, and trains with normalisation at 30 times): they diverge, or end no "
    "better than a guess.",
    relative=(None, 0.9),
    absolute=(None, 0.9),
    lost=(0.5, None),
)

WIDTH, DEPTH, STEPS, TARGET = 64, 5, 200, 1.15
RATES = (0.02, 0.1, 0.5, 2.5)
NORMS = ("none", "batch")
TOLD = {"none": "without normalisation", "batch": "with normalisation"}
READ = {"relative": "swing", "absolute": "swing_of_loss"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """With and without normalisation, at learning rates up to divergence."""
    return grid(budget.seeds(16, 40, 100), norm=NORMS, rate=RATES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train, and measure how the loss swings around its trend."""
    return train_swinging(trials, _network, STEPS, TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    norm = BatchNorm1d if trial["norm"] == "batch" else None
    return initialise_(mlp([features, *[WIDTH] * DEPTH, classes], "relu", norm), "he_normal", trial.seed)


def verdict(results: Results) -> Verdict:
    """Ratios of the swings of runs that train; those that are lost are counted apart."""
    rate = _suited(results)
    same = counted(results).where(rate=rate)
    normalised, plain = {"norm": "batch"}, {"norm": "none"}
    checks = []
    for name, metric in READ.items():
        pair = both_train(*same.pairs(metric, normalised, plain))
        checks.append(ratio_check(PREDICTION, name, *pair, f"swing with normalisation over without, {name}"))
    lost, kept = results.where(rate=RATES[-1]).pairs("lost", plain, normalised)
    words = f"share of runs lost without normalisation beyond those with it, rate {RATES[-1]}"
    checks.append(share_difference_check(PREDICTION, "lost", lost, kept, words))
    ends = [same.where(norm=norm).values("final_loss") for norm in NORMS]
    return judge(
        checks,
        f"At the rate {rate} the loss swings {checks[0].estimate:.2f} times as far with normalisation as without, as "
        f"a share of the loss, and {checks[1].estimate:.2f} times as far by itself (mean losses at the end: "
        f"{ends[1].mean():.3f} and {ends[0].mean():.3f}). At the rate {RATES[-1]} {lost.sum():.0f} of {len(lost)} runs "
        f"are lost without normalisation and {kept.sum():.0f} with it.",
    )


def _suited(results: Results) -> float:
    """The learning rate that suits the network without normalisation best, on seeds that do not count."""
    best = tuned(results.where(norm="none"), STEPS, "norm")
    return float(best.rows[0].trial["rate"])


def figure(results: Results) -> Figure:
    """One run of each, the swings at every rate, and how many runs are lost."""
    rate = _suited(results)
    first = min(row.trial.seed for row in counted(results))
    curves = tuple(
        Series(TOLD[norm], tuple(row.curves["step"]), tuple(row.curves["loss"]))
        for norm in NORMS
        for row in results.where(norm=norm, seed=first, rate=rate)
    )
    same = counted(results).where(rate=rate)
    readings = ("of the logarithm", "of the loss")
    swings = tuple(
        Series(
            TOLD[norm], readings, tuple(median_of_trained(same.where(norm=norm), metric) for metric in READ.values())
        )
        for norm in NORMS
    )
    lost = tuple(
        Series(TOLD[norm], RATES, tuple(float(g.values("lost").mean()) for g in group.by("rate").values()))
        for norm, group in results.by("norm").items()
    )
    return Figure(
        f"One run of each: the loss of every batch at the learning rate {rate}, which suits the network without "
        "normalisation best. Swings: how far it swings around its trend, medians of the runs that train; a loss that "
        "is nearer to zero swings further on a logarithmic scale. Runs that are lost: the share of those that diverge "
        "or end no better than a guess.",
        (
            Panel("One run of each", "step", "loss of the batch", curves, log_y=True),
            Panel(f"Swings at the rate {rate}", "swing", "standard deviation", swings, "bars"),
            Panel("Runs that are lost", "learning rate", "share", lost, log_x=True),
        ),
    )
