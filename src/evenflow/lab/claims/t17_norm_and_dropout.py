"""T17: whether a network with batch normalisation still gains from dropout."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from evenflow.data import Split
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
)
from evenflow.lab.training import Recipe, initialise_, load_split, mlp, train_together
from evenflow.norm import BatchNorm1d

ID = "T17"
TITLE = "Batch norm in place of dropout"
STATEMENT = "Batch normalisation removes the need for dropout."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015, section 3.4"
PREDICTION = Prediction(
    "A ReLU network of two hidden layers of 128 units, trained on 100 samples until it fits them, classifies others "
    "with batch normalisation at most 0.01 less accurately than with dropout of 0.5; and dropout on top of batch "
    "normalisation gains at most 0.01. Each at its best learning rate of two.",
    replaced=(-0.01, None),
    gain_on_top=(None, 0.01),
)

SAMPLES, WIDTH, STEPS, BATCH, DROPPED = 100, 128, 400, 25, 0.5
RATES = (0.05, 0.1)
KINDS = {"none": (None, 0.0), "dropout": (None, DROPPED), "batch": (BatchNorm1d, 0.0), "both": (BatchNorm1d, DROPPED)}
TOLD = {"none": "neither", "dropout": "dropout", "batch": "batch norm", "both": "both"}
POOL_SHARE, PILOT_SHARE = 0.4, 4
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Four kinds of network, two learning rates, each seed with its own training samples."""
    return grid(budget.seeds(12, 40, 120), kind=tuple(KINDS), rate=RATES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train each on few samples, and test on many."""
    data = with_more_tests(load_split(trials[0]["data"]))
    features, classes = data.inputs.shape[1], int(data.test_targets.max()) + 1
    models = [_network(trial, features, classes) for trial in trials]
    subsets = [few_rows(len(data.inputs), trial.seed) for trial in trials]
    recipe = Recipe(rate=0.1, steps=STEPS, batch=BATCH, every=20)
    seeds, rates = [trial.seed for trial in trials], [trial["rate"] for trial in trials]
    runs = train_together(models, data, recipe, seeds, rates, subsets=subsets)
    return [run.measurement(every=10) for run in runs]


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    norm, dropout = KINDS[trial["kind"]]
    model = mlp([features, WIDTH, WIDTH, classes], "relu", norm, dropout)
    return initialise_(model, "he_normal", trial.seed)


def with_more_tests(split: Split) -> Split:
    """A part of the training samples to choose from; the others are tested on, with the test samples."""
    pool = max(SAMPLES, int(POOL_SHARE * len(split.inputs)))
    return Split(
        split.inputs[:pool],
        split.targets[:pool],
        torch.cat([split.inputs[pool:], split.test_inputs]),
        torch.cat([split.targets[pool:], split.test_targets]),
    )


def few_rows(samples: int, seed: int) -> Tensor:
    """The rows of the training samples of a seed."""
    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed))[:SAMPLES]


def at_best_rate(results: Results) -> Results:
    """Each kind at the rate of its best accuracy on the first quarter of the seeds, without those seeds."""
    seeds = sorted({row.trial.seed for row in results})
    pilot = seeds[: max(1, len(seeds) // PILOT_SHARE)]
    kept = []
    for group in results.by("kind").values():
        scores = {rate: one.where(seed=pilot).values("accuracy").mean() for rate, one in group.by("rate").items()}
        best = max(scores, key=scores.__getitem__)
        kept += [row for row in group.where(rate=best) if row.trial.seed not in pilot]
    return Results(kept)


def verdict(results: Results) -> Verdict:
    """Differences of the test accuracy after the last step, paired by seed."""
    best = at_best_rate(results)
    means = {kind: group.values("accuracy").mean() for kind, group in best.by("kind").items()}
    checks = [
        paired_check(
            PREDICTION,
            name,
            *best.pairs("accuracy", {"kind": first}, {"kind": second}, ignoring=("rate",)),
            f"test accuracy of {TOLD[first]} less that of {TOLD[second]}",
        )
        for name, first, second in (("replaced", "batch", "dropout"), ("gain_on_top", "both", "batch"))
    ]
    told = ", ".join(f"{100 * means[kind]:.1f} % with {TOLD[kind]}" for kind in KINDS)
    return judge(
        checks,
        f"Test accuracy: {told}. Without batch norm dropout gains {100 * (means['dropout'] - means['none']):+.1f} "
        f"points, on top of it {100 * checks[1].estimate:+.1f}.",
    )


def figure(results: Results) -> Figure:
    """Accuracies at the end and on the way, and the training loss."""
    best = at_best_rate(results)
    groups = best.by("kind")
    ends = replace(best.line("median and quartiles", "kind", "accuracy"), x=tuple(TOLD[kind] for kind in groups))
    curves = tuple(groups[kind].curve_line(TOLD[kind], "measured", "accuracy") for kind in KINDS)
    losses = tuple(groups[kind].curve_line(TOLD[kind], "step", "loss") for kind in KINDS)
    return Figure(
        f"Networks that learn {SAMPLES} samples by heart (training loss), and how many other samples they classify "
        "rightly. Dropout is needed where it raises the accuracy. Medians and quartiles over seeds.",
        (
            Panel("Accuracy on new samples, at the end", "network", "test accuracy", (ends,), "bars"),
            Panel("Accuracy on new samples", "step", "test accuracy", curves),
            Panel("Training loss", "step", "training loss", losses, log_y=True),
        ),
    )
