"""T18: batch normalisation makes gradients independent of the scale of the weights, yet not of depth."""

import math

import numpy as np

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
    mean_check,
)
from evenflow.lab.claims._gradients import batch_of, gradient_norms, slope
from evenflow.lab.training import initialise_, mlp
from evenflow.norm import BatchNorm1d

ID = "T18"
TITLE = "Batch normalisation and gradients"
STATEMENT = "Batch normalisation prevents vanishing and exploding gradients."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015, section 3.3; against it Yang et al. 2019, section 3.1"
PREDICTION = Prediction(
    "The networks of T4 (20 layers of 100 units) with batch normalisation before every activation. If the claim "
    "holds, the slope of log10 of the gradient per layer is the same at a quarter and at four times the critical "
    "scale of the weights as at it (within 0.02; without normalisation it is 0.6 away), and it is 0 as T4 asks it "
    "of critical weights (within 0.05). Mean field theory says of the latter the opposite for ReLU: at "
    "initialisation the gradient of a deep network grows per layer, on the way back, by "
    "sqrt(E[f'^2] / Var[f]) = sqrt(pi / (pi - 1)) = 1.21 (within 0.05), which is a slope of 0.083; the same formula "
    "gives 1.085 for tanh, a slope of 0.036. The factors are those of 50 layers of 200 units and a batch of 512.",
    relu_scale=(None, 0.02),
    tanh_scale=(None, 0.02),
    relu_even=(-0.05, 0.05),
    tanh_even=(-0.05, 0.05),
    relu_deep=(1.16, 1.26),
    tanh_deep=(1.035, 1.135),
)

SHALLOW = {"depth": 20, "width": 100, "samples": 128}
DEEP = {"depth": 50, "width": 200, "samples": 512}
# In units of the critical scale of T4, which is sqrt(2) for ReLU and 1 for tanh.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
CRITICAL = {"relu": math.sqrt(2), "tanh": 1.0}
NORMS = ("none", "batch")


def design(budget: Budget) -> list[Trial]:
    """Five scales with and without normalisation, and deep networks with it, for two activations."""
    data, activations = budget.data or "digits", tuple(CRITICAL)
    scales = grid(budget.seeds(8, 30, 100), activation=activations, norm=NORMS, scale=SCALES, **SHALLOW, data=data)
    deep = grid(budget.seeds(8, 20, 100), activation=activations, norm="batch", scale=1.0, **DEEP, data=data)
    return scales + deep


def measure(trial: Trial) -> Measurement:
    """The norm of the gradient at every hidden layer, its slope on the way back, and that as a factor."""
    inputs, targets, classes = batch_of(trial, trial["samples"])
    sizes = [inputs.shape[1], *[trial["width"]] * trial["depth"], classes]
    model = mlp(sizes, trial["activation"], norm=BatchNorm1d if trial["norm"] == "batch" else None)
    scale = (trial["scale"] * CRITICAL[trial["activation"]]) ** 2
    initialise_(model, "variance_scaling", trial.seed, scale=scale, mode="fan_in")
    norms = gradient_norms(model, inputs, targets)
    decades = slope(norms)
    layers = [float(i) for i in range(1, trial["depth"] + 1)]
    return Measurement({"slope": decades, "factor": 10**decades}, {"layer": layers, "norm": norms})


def verdict(results: Results) -> Verdict:
    """Slopes at all scales beside that at the critical one, that one beside 0, and depth beside theory."""
    checks = [check for activation in CRITICAL for check in _checks(results, activation)]
    found = {check.name: check.estimate for check in checks}
    plain = results.where(activation="relu", norm="none", scale=4.0).values("slope").mean()
    return judge(
        checks,
        "With normalisation, at 1/4 and 4 times the critical scale of the weights the slope differs from that at it by "
        f"{found['relu_scale']:.4f} (ReLU) and {found['tanh_scale']:.4f} (tanh) at most; without, the gradient of ReLU "
        f"gains {plain:.2f} decades per layer at 4 times. At any scale it gains {found['relu_even']:+.3f} decades "
        f"(ReLU) and {found['tanh_even']:+.3f} (tanh) per layer, and in 50 layers a factor of {found['relu_deep']:.3f} "
        f"and {found['tanh_deep']:.3f} (theory: 1.211 and 1.085): above 1, the gradients of a network that is deep "
        "enough explode at initialisation.",
    )


def _checks(results: Results, activation: str) -> list[Check]:
    shallow = results.where(activation=activation, norm="batch", depth=SHALLOW["depth"])
    critical = shallow.where(scale=1.0).values("slope")
    away = np.max([np.abs(shallow.where(scale=s).values("slope") - critical) for s in (0.25, 4.0)], axis=0)
    factors = results.where(activation=activation, depth=DEEP["depth"]).values("factor")
    per_layer = f"log10 gradient per layer back, {activation}, normalised"
    return [
        mean_check(
            PREDICTION, f"{activation}_scale", away, f"{per_layer}: largest change with the scale of the weights"
        ),
        mean_check(PREDICTION, f"{activation}_even", critical, per_layer),
        mean_check(
            PREDICTION, f"{activation}_deep", factors, f"factor of the gradient per layer back, {activation}, 50 layers"
        ),
    ]


def figure(results: Results) -> Figure:
    """Gradient norms against depth, for every scale and in very deep networks."""
    shallow = results.where(depth=SHALLOW["depth"], activation="relu")
    panels = [
        Panel(
            title=f"ReLU, {title}",
            x="layer",
            y="gradient norm",
            series=tuple(
                group.curve_line(f"{scale:g}", "layer", "norm")
                for scale, group in shallow.where(norm=norm).by("scale").items()
            ),
            log_y=True,
        )
        for norm, title in zip(NORMS, ("not normalised", "normalised"), strict=True)
    ]
    deep = tuple(
        group.curve_line(activation, "layer", "norm")
        for activation, group in results.where(depth=DEEP["depth"]).by("activation").items()
    )
    norms = results.where(depth=DEEP["depth"], activation="relu").curves("norm")
    growth = float(np.median(norms[:, 0] / norms[:, -1]))
    return Figure(
        "The norm of the gradient at every hidden layer before training; the backward pass goes from right to left. "
        "Without normalisation the scale of the weights (the lines, in units of the critical one) decides whether "
        "gradients vanish or explode; with it all lines have one slope. That is not flat: over 50 layers the gradients "
        f"of ReLU change {growth:.2g}-fold.",
        (*panels, Panel("50 layers, normalised", "layer", "gradient norm", deep, log_y=True)),
    )
