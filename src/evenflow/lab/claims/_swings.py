"""How losses swing, in runs that train; the others are counted apart, not by an invented number."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from evenflow.errors import NoResultsError
from evenflow.lab.measures import oscillation
from evenflow.lab.results import Results
from evenflow.lab.training import Recipe, Run, load_split, train_together
from evenflow.lab.trial import Measurement, Trial

# The loss of a guess among ten classes.
GUESS = math.log(10)


def train_swinging(
    trials: Sequence[Trial], build: Callable[[Trial, int, int], nn.Module], steps: int, target: float
) -> list[Measurement]:
    """Train trials that differ in seed and rate only, together, and measure how their losses swing.

    Args:
        trials: They name `data` and `rate`.
        build: Makes the initialised network of a trial, for a number of features and of classes.
        steps: Steps of SGD. The first tenth of them is not looked at.
        target: Loss whose steps are counted.
    """
    data = load_split(trials[0]["data"])
    features, classes = data.inputs.shape[1], int(data.targets.max()) + 1
    models = [build(trial, features, classes) for trial in trials]
    rates = [trial["rate"] for trial in trials]
    runs = train_together(models, data, Recipe(rate=1.0, steps=steps), [trial.seed for trial in trials], rates)
    return [swings(run, steps // 10, target) for run in runs]


def swings(run: Run, first: int, target: float) -> Measurement:
    """The swings of a run after its first steps; NaN for a run that is lost.

    A run is lost when it diverges, or ends no better than a guess. `swing` is the deviation of the detrended logarithm
    of the loss, `swing_of_loss` that of the detrended loss.
    """
    lost = run.diverged or run.final >= GUESS
    metrics = {
        "lost": float(lost),
        "final_loss": run.final,
        "steps": run.steps_to(target),
        "swing": math.nan,
        "swing_of_loss": math.nan,
        "sign_changes": math.nan,
    }
    if not lost:
        relative, absolute = (oscillation(run.loss[first:], relative=r) for r in (True, False))
        metrics |= {
            "swing": relative.deviation,
            "swing_of_loss": absolute.deviation,
            "sign_changes": relative.sign_changes,
        }
    return Measurement(metrics, {"step": [float(s) for s in range(1, len(run.loss) + 1)], "loss": list(run.loss)})


def both_train(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pairs of swings in which neither run is lost.

    Raises:
        NoResultsError: That is less than half of the pairs.
    """
    kept = np.isfinite(one) & np.isfinite(other)
    if kept.mean() < 0.5:
        raise NoResultsError(f"swings need runs that train; in {(~kept).sum()} of {len(kept)} pairs one is lost")
    return one[kept], other[kept]


def largest_rate_that_trains(pilot: Results) -> float:
    """The largest learning rate at which no run is lost.

    Raises:
        NoResultsError: Some are lost at every rate.
    """
    safe = [rate for rate, group in pilot.by("rate").items() if not group.values("lost").any()]
    if not safe:
        raise NoResultsError("at every learning rate some runs of the pilot are lost")
    return float(max(safe))


def median_of_trained(results: Results, metric: str) -> float:
    """The median over the runs that are not lost; NaN where all are."""
    values = results.values(metric)
    trained = values[np.isfinite(values)]
    return float(np.median(trained)) if len(trained) else math.nan
