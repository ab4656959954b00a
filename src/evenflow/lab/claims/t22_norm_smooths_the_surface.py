"""T22: how smooth the loss is along the gradient and where training ends, with and without batch normalisation."""

from collections.abc import Sequence
from dataclasses import replace

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
from evenflow.lab.measures import AlongGradient, Slice, along_gradient, loss_slice
from evenflow.lab.training import Recipe, initialise_, load_split, mlp, train_together
from evenflow.norm import BatchNorm1d

ID = "T22"
TITLE = "Batch norm smooths the loss surface"
STATEMENT = "Batch normalisation smooths the curve and the surface of the loss."
SOURCE = "notes: loss surfaces; Santurkar et al. 2018, section 3.1 and figure 4; Li et al. 2018 for the slices"
PREDICTION = Prediction(
    "In a ReLU network of five hidden layers at one learning rate, batch normalisation lowers, to at most 0.8 times: "
    "along the gradient, over steps of 0.5 to 4 learning rates, the range of the loss, the range of the gradient's "
    "change and the effective beta-smoothness (geometric means over training); and the mean bend of the loss "
    "between neighbouring points of a filter-normalised plane around the end of training.",
    loss_range=(None, 0.8),
    gradient_range=(None, 0.8),
    smoothness=(None, 0.8),
    bend=(None, 0.8),
)

WIDTH, DEPTH, STEPS, RATE = 64, 5, 150, 0.1
SAMPLES, POINTS, SPAN = 256, 15, 1.0
LOOKS = (0, 5, 15, 30, 60, 100, 150)
FACTORS = (0.5, 1.0, 2.0, 4.0)
NORMS = {"none": None, "batch": BatchNorm1d}
TOLD = {"none": "without", "batch": "with batch norm"}
QUANTITIES = {
    "loss_range": "range of the loss along the gradient",
    "gradient_range": "range of the gradient's change along it",
    "smoothness": "effective beta-smoothness",
    "bend": "bend of the loss surface",
}
TOGETHER = ("seed",)


def design(budget: Budget) -> list[Trial]:
    """With and without normalisation."""
    return grid(budget.seeds(12, 48, 120), norm=tuple(NORMS), data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train; walk along the gradient on the way, and over a plane at the end."""
    data = load_split(trials[0]["data"])
    features, classes = data.inputs.shape[1], int(data.targets.max()) + 1
    batch = data.inputs[:SAMPLES], data.targets[:SAMPLES]
    walks: list[list[AlongGradient]] = [[] for _ in trials]
    planes: list[Slice] = []

    def look(step: int, replicas: list[nn.Module]) -> None:
        for own, replica, trial in zip(walks, replicas, trials, strict=True):
            own.append(along_gradient(replica, batch, steps=[RATE * factor for factor in FACTORS]))
            if step == STEPS:
                planes.append(
                    loss_slice(replica, batch, dimensions=2, span=SPAN, points=POINTS, seed=trial.seed),
                )

    models = [_network(trial, features, classes) for trial in trials]
    train_together(models, data, Recipe(rate=RATE, steps=STEPS), [trial.seed for trial in trials], look=look, at=LOOKS)
    return [_measurement(own, plane) for own, plane in zip(walks, planes, strict=True)]


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * DEPTH, classes], "relu", NORMS[trial["norm"]])
    return initialise_(model, "he_normal", trial.seed)


def _measurement(walks: list[AlongGradient], plane: Slice) -> Measurement:
    curves = {
        "loss_range": [walk.loss_range for walk in walks],
        "gradient_range": [walk.gradient_range for walk in walks],
        "smoothness": [walk.smoothness for walk in walks],
    }
    means = {name: float(np.exp(np.log(values).mean())) for name, values in curves.items()}
    return Measurement(
        {**means, "bend": bend(plane), "loss": plane.centre},
        {
            **curves,
            "step": [float(step) for step in LOOKS],
            "place": plane.x,
            "plane": [loss for row in plane.losses for loss in row],
        },
    )


def bend(plane: Slice) -> float:
    """The mean absolute second difference between neighbours of a plane, in both directions: 0 where it is flat."""
    losses = np.array(plane.losses)
    return float(np.mean([np.abs(np.diff(losses, 2, axis=axis)).mean() for axis in (0, 1)]))


def verdict(results: Results) -> Verdict:
    """Ratios, paired by seed."""
    checks = [
        ratio_check(
            PREDICTION,
            name,
            *results.pairs(name, {"norm": "batch"}, {"norm": "none"}),
            f"{words}, with batch norm over without",
        )
        for name, words in QUANTITIES.items()
    ]
    told = ", ".join(f"{words} {check.estimate:.2f}" for check, words in zip(checks, QUANTITIES.values(), strict=True))
    losses = {norm: group.values("loss").mean() for norm, group in results.by("norm").items()}
    return judge(
        checks,
        f"With batch norm over without: {told}. Training ends at a loss of {losses['batch']:.3f} with and "
        f"{losses['none']:.3f} without.",
    )


def figure(results: Results) -> Figure:
    """The quantities over training, and a plane of each kind."""
    groups = results.by("norm")
    panels = [
        Panel(
            title=words[0].upper() + words[1:],
            x="step",
            y=words,
            series=tuple(group.curve_line(TOLD[norm], "step", name) for norm, group in groups.items()),
            log_y=True,
        )
        for name, words in QUANTITIES.items()
        if name != "bend"
    ]
    bends = replace(results.line("median and quartiles", "norm", "bend"), x=tuple(TOLD[norm] for norm in groups))
    panels.append(Panel("Bend of the loss surface at the end", "network", "bend", (bends,), "bars", log_y=True))
    planes = [
        Panel(
            title=f"Surface at the end, {TOLD[norm]}",
            x="along one random direction",
            y="along another",
            kind="heat",
            cells=_cells(group),
        )
        for norm, group in groups.items()
    ]
    return Figure(
        "Curves: how far the loss and its gradient change within a step along the gradient; lower is smoother. Medians "
        "and quartiles over seeds. Maps: the loss on a plane through the end of training of one seed, in directions "
        "scaled to the norm of each filter: at 1, every filter has moved by its own length. The colour is log10 of "
        "the loss, on a scale of its own for each map.",
        (*panels, *planes),
    )


def _cells(group: Results) -> Cells:
    first = group.rows[0]
    place = tuple(first.curves["place"])
    losses = np.log10(np.reshape(first.curves["plane"], (len(place), len(place))))
    return Cells(place, place, tuple(tuple(map(float, row)) for row in losses), "log10")
