"""Training groups of trials, and judging each scheme at its own best learning rate."""

from collections.abc import Callable, Sequence

import numpy as np
from torch import nn

from evenflow.lab.results import Results
from evenflow.lab.training import Recipe, load_split, train_together
from evenflow.lab.trial import Measurement, Trial

PILOT_SHARE = 4


def train_group(
    trials: Sequence[Trial],
    build: Callable[[Trial, int, int], nn.Module],
    recipe: Recipe,
    target: float,
    every: int = 5,
) -> list[Measurement]:
    """Train trials that differ in seed and rate only, together.

    Args:
        trials: They name `data` and `rate`.
        build: Makes the initialised network of a trial, for a number of features and of classes.
        recipe: How to train; the rates are those of the trials.
        target: Loss whose steps are counted.
        every: The curves keep each so-manieth step.
    """
    data = load_split(trials[0]["data"])
    features, classes = data.inputs.shape[1], int(data.targets.max()) + 1
    models = [build(trial, features, classes) for trial in trials]
    rates = [trial["rate"] for trial in trials]
    runs = train_together(models, data, recipe, [trial.seed for trial in trials], rates)
    return [run.measurement(target, every) for run in runs]


def tuned(results: Results, limit: float, *names: str) -> Results:
    """For every combination of the names, the trials at its best learning rate.

    The rate is chosen on the first quarter of the seeds by the mean of the steps within `limit`, then by the final
    loss; the trials that are returned are those of the other seeds.

    Args:
        results: Trials that name `rate`, and have the metrics `steps` and `final_loss`.
        limit: The budget in steps.
        *names: The names, such as "scheme".
    """
    seeds = sorted({row.trial.seed for row in results})
    pilot = seeds[: max(1, len(seeds) // PILOT_SHARE)]
    kept = []
    for combination in dict.fromkeys(tuple(row.trial[name] for name in names) for row in results):
        group = results.where(**dict(zip(names, combination, strict=True)))
        scores = {rate: _score(of_rate.where(seed=pilot), limit) for rate, of_rate in group.by("rate").items()}
        best = min(scores, key=scores.__getitem__)
        kept += [row for row in group.where(rate=best) if row.trial.seed not in pilot]
    return Results(kept)


def _score(pilot: Results, limit: float) -> tuple[float, float]:
    losses = np.nan_to_num(pilot.values("final_loss"), nan=np.inf, posinf=np.inf)
    return float(np.minimum(pilot.values("steps"), limit).mean()), float(losses.mean())
