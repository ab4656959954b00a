"""T21: internal covariate shift with and without batch normalisation, in both definitions."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow.data import Split
from evenflow.lab import (
    Budget,
    Check,
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
from evenflow.lab.claims._tuned import tuned
from evenflow.lab.measures import LayerShift, covariate_shift
from evenflow.lab.training import Recipe, batch_order, initialise_, load_split, mlp, train_together
from evenflow.norm import BatchNorm1d

ID = "T21"
TITLE = "Batch norm and internal covariate shift"
STATEMENT = (
    "Batch normalisation reduces internal covariate shift, the change in the distribution of activations due to the "
    "change in parameters."
)
SOURCE = (
    "notes: internal covariate shift; Ioffe & Szegedy 2015, section 1 and figure 1; against it Santurkar et al. 2018, "
    "section 2"
)
PREDICTION = Prediction(
    "With batch normalisation a step of SGD shifts at most 0.8 times as much, in three sigmoid layers: the "
    "distributions of the inputs of the layers above the first (mean Wasserstein distance in standard deviations), "
    "and the gradients of those layers when the layers below make their step first (norm of the difference). Both at "
    "the learning rate that is best without batch normalisation, and with each at its own best of three.",
    drift_matched=(None, 0.8),
    drift_tuned=(None, 0.8),
    gradient_matched=(None, 0.8),
    gradient_tuned=(None, 0.8),
)

WIDTH, DEPTH, LIMIT, BATCH, TARGET = 64, 3, 220, 64, 1.15  # half of ln 10
SAMPLES = 128
LOOKS = (20, 80, 140, 200)
RATES = (0.3, 1.0, 3.0)
NORMS = {"none": None, "batch": BatchNorm1d}
TOLD = {"none": "without", "batch": "with batch norm"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """With and without normalisation, at three learning rates."""
    return grid(budget.seeds(10, 32, 100), norm=tuple(NORMS), rate=RATES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train, and measure at a few steps how much the next one shifts."""
    data = load_split(trials[0]["data"])
    features, classes = data.inputs.shape[1], int(data.targets.max()) + 1
    batch = data.inputs[:SAMPLES], data.targets[:SAMPLES]
    found: list[list[list[LayerShift]]] = [[] for _ in trials]

    def look(step: int, replicas: list[nn.Module]) -> None:
        for own, replica, trial in zip(found, replicas, trials, strict=True):
            update = partial(make_step_, data=data, rows=_next(data, step, trial.seed), rate=trial["rate"])
            own.append(covariate_shift(replica, batch, update))

    models = [_network(trial, features, classes) for trial in trials]
    recipe, seeds = Recipe(rate=1.0, steps=LIMIT, batch=BATCH), [trial.seed for trial in trials]
    runs = train_together(models, data, recipe, seeds, [trial["rate"] for trial in trials], look=look, at=LOOKS)
    return [_measurement(run.measurement(TARGET, every=5), own) for run, own in zip(runs, found, strict=True)]


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * DEPTH, classes], "sigmoid", NORMS[trial["norm"]])
    return initialise_(model, "glorot_normal", trial.seed)


def _next(data: Split, step: int, seed: int) -> Tensor:
    """The rows of the batch that training takes after so many steps."""
    return list(batch_order(len(data.inputs), BATCH, step + 1, seed))[-1]


def make_step_(model: nn.Module, data: Split, rows: Tensor, rate: float) -> None:
    """One step of SGD, in place."""
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(data.inputs[rows]), data.targets[rows]), parameters)
    with torch.no_grad():
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.sub_(gradient, alpha=rate)


def _measurement(run: Measurement, shifts: list[list[LayerShift]]) -> Measurement:
    """The run, with means over the layers above the first at every look, and means of their logarithms over looks."""
    above = [layers[1:] for layers in shifts]
    curves = {
        "looked": [float(step) for step in LOOKS[: len(shifts)]],
        "drift": [float(np.mean([one.relative for one in layers])) for layers in above],
        "gradient": [float(np.mean([one.gradient_difference for one in layers])) for layers in above],
        "cosine": [float(np.mean([one.gradient_cosine for one in layers])) for layers in above],
    }
    # Gradients grow and shrink by orders of magnitude during training; a plain mean would be that of one look.
    means = {name: float(np.exp(np.log(curves[name]).mean())) for name in ("drift", "gradient")}
    metrics = {**run.metrics, **means, "cosine": float(np.mean(curves["cosine"]))}
    return Measurement(metrics, {**run.curves, **curves})


def at_rates(results: Results) -> dict[str, Results]:
    """Both kinds at the best rate of the one without normalisation, and each at its own."""
    best = tuned(results, LIMIT, "norm")
    seeds = [row.trial.seed for row in best.where(norm="none")]
    rate = best.where(norm="none").rows[0].trial["rate"]
    return {"matched": results.where(rate=rate, seed=seeds), "tuned": best}


def verdict(results: Results) -> Verdict:
    """Ratios of the shifts, paired by seed."""
    checks: list[Check] = []
    told = []
    for name, chosen in at_rates(results).items():
        sides = {"norm": "batch"}, {"norm": "none"}
        ratios = {
            shift: ratio_check(
                PREDICTION,
                f"{shift}_{name}",
                *chosen.pairs(shift, *sides, ignoring=("rate",)),
                f"{words} with batch norm over without, {name} rates",
            )
            for shift, words in (("drift", "drift of the inputs"), ("gradient", "change of the gradient"))
        }
        checks += ratios.values()
        cosines = [chosen.where(norm=norm).values("cosine").mean() for norm in ("batch", "none")]
        rates = " and ".join(f"{chosen.where(norm=norm).rows[0].trial['rate']:g}" for norm in ("batch", "none"))
        told.append(
            f"at {name} rates ({rates}) inputs drift {ratios['drift'].estimate:.2f} times as far with batch norm as "
            f"without and gradients change {ratios['gradient'].estimate:.2f} times as much (cosines before and "
            f"after: {cosines[0]:.2f} with and {cosines[1]:.2f} without)"
        )
    return judge(checks, f"In one step, {'; '.join(told)}.")


def figure(results: Results) -> Figure:
    """Both shifts over training, at matched and at tuned rates."""
    quantities = (
        ("drift", "drift of the inputs, standard deviations", True),
        ("gradient", "change of the gradient, norm", True),
        ("cosine", "cosine of the gradients before and after", False),
    )
    panels = [
        Panel(
            title=f"{title}, {name} rates",
            x="step",
            y=words,
            series=tuple(one.curve_line(TOLD[norm], "looked", shift) for norm, one in chosen.by("norm").items()),
            log_y=log_y,
        )
        for name, chosen in at_rates(results).items()
        for title, (shift, words, log_y) in zip(("Distributions", "Gradients", "Directions"), quantities, strict=True)
    ]
    return Figure(
        "What one step of SGD does to the layers above the first. Distributions: how far the inputs of a layer move "
        "(Ioffe & Szegedy). Gradients: how much the gradient of a layer's weights changes when the layers below step "
        "first (Santurkar et al.), and whether it still points the same way (cosine of 1). The two definitions need "
        "not agree.",
        tuple(panels),
    )
