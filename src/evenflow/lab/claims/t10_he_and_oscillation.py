"""T10: whether He's rule calms the way to the minimum."""

import math
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
)
from evenflow.lab.measures import oscillation
from evenflow.lab.training import Recipe, initialise_, load_split, mlp, train_together

ID = "T10"
TITLE = "He and oscillation"
STATEMENT = "He's initialisation avoids oscillation on the way to the minimum."
SOURCE = "notes: Kaiming initialisation"
PREDICTION = Prediction(
    "At the same learning rate and on the same batches, the loss of a ReLU network of five hidden layers oscillates "
    "less around "
    "its trend with He's weights than with Glorot's or with N(0, 1)'s: at most 0.9 of the standard deviation of the "
    "detrended "
    "logarithm of the loss, over the steps after the first tenth.",
    glorot=(None, 0.9),
    random_normal=(None, 0.9),
)

WIDTH, DEPTH, STEPS, RATE = 64, 5, 300, 0.02
SCHEMES = ("he_normal", "glorot_normal", "random_normal")
TOGETHER = ("seed",)


def design(budget: Budget) -> list[Trial]:
    """Three schemes at one learning rate."""
    return grid(budget.seeds(12, 40, 100), scheme=SCHEMES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train, and measure how the loss swings around its trend."""
    data = load_split(trials[0]["data"])
    features, classes = data.inputs.shape[1], int(data.targets.max()) + 1
    models = [_network(trial, features, classes) for trial in trials]
    runs = train_together(models, data, Recipe(rate=RATE, steps=STEPS), [trial.seed for trial in trials])
    found = []
    for run in runs:
        metrics = {"swing": math.inf, "sign_changes": math.nan, "diverged": float(run.diverged)}
        if not run.diverged:
            told = oscillation(run.loss[STEPS // 10 :])
            metrics |= {"swing": told.deviation, "sign_changes": told.sign_changes}
        steps = [float(s) for s in range(1, len(run.loss) + 1)]
        found.append(Measurement(metrics, {"step": steps, "loss": list(run.loss)}))
    return found


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    return initialise_(mlp([features, *[WIDTH] * DEPTH, classes], "relu"), trial["scheme"], trial.seed)


def verdict(results: Results) -> Verdict:
    """Ratios of the swings; runs that diverged have an infinite one, and are counted apart."""
    checks = []
    for name, scheme in (("glorot", "glorot_normal"), ("random_normal", "random_normal")):
        he, other = results.pairs("swing", {"scheme": "he_normal"}, {"scheme": scheme})
        # A run that diverged swung without limit: a thousand times, so that it counts, and finitely.
        other = np.where(np.isfinite(other), other, 1000 * he)
        checks.append(ratio_check(PREDICTION, name, he, other, f"swing of He's loss over that of {scheme}"))
    lost = results.where(scheme="random_normal").values("diverged")
    signs = {s: g.values("sign_changes").mean() for s, g in results.by("scheme").items()}
    return judge(
        checks,
        f"He's loss swings {checks[0].estimate:.2f} times as far around its trend as Glorot's, and "
        f"{checks[1].estimate:.2g} times "
        f"as N(0, 1)'s, of whose runs {lost.sum():.0f} of {len(lost)} diverged (they count as a thousand times). "
        "Shares of steps "
        f"that change sign: {signs['he_normal']:.2f} (He), {signs['glorot_normal']:.2f} (Glorot).",
    )


def figure(results: Results) -> Figure:
    """One run of each, and the swings of all."""
    first = min(row.trial.seed for row in results)
    curves = tuple(
        Series(scheme, tuple(row.curves["step"]), tuple(row.curves["loss"]))
        for scheme in SCHEMES
        for row in results.where(scheme=scheme, seed=first)
    )
    return Figure(
        "The loss of every batch in one run of each scheme, and how far it swings around its trend in all runs.",
        (
            Panel(f"Seed {first}", "step", "loss of the batch", curves, log_y=True),
            Panel("Swings", "scheme", "swing", (results.line("swing", "scheme", "swing"),), "bars", log_y=True),
        ),
    )
