"""T4: weights that are too small or too large make gradients vanish or explode, at a rate that theory names."""

import math

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
    mean_check,
)
from evenflow.lab.claims._gradients import batch_of, gradient_norms, slope
from evenflow.lab.training import initialise_, mlp

ID = "T4"
TITLE = "Too small vanishes, too large explodes"
STATEMENT = "Very high or very low initial weights make gradients explode or vanish."
SOURCE = "notes: vanishing and exploding gradients; Glorot & Bengio 2010; He et al. 2015, section 2.2"
PREDICTION = Prediction(
    "In 20 layers of 100 units with weights of standard deviation s / sqrt(fan_in), the norm of the gradient changes "
    "from "
    "layer to layer, on the way back, by the factor s / sqrt(2) for ReLU and by s for tanh while the signal is "
    "small: on a "
    "scale of log10 a slope of -0.30 per layer at half the critical s, 0 at it, +0.30 at twice it for ReLU (within "
    "0.05); "
    "-0.30 for tanh at s = 0.5, and above +0.05 at s = 4.",
    relu_low=(-0.35, -0.25),
    relu_critical=(-0.05, 0.05),
    relu_high=(0.25, 0.35),
    tanh_low=(-0.35, -0.25),
    tanh_high=(0.05, None),
)

DEPTH, WIDTH, SAMPLES = 20, 100, 128
# In units of the critical scale, which is sqrt(2) for ReLU and 1 for tanh.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)
CRITICAL = {"relu": math.sqrt(2), "tanh": 1.0}


def design(budget: Budget) -> list[Trial]:
    """Five scales, two activations."""
    return grid(budget.seeds(8, 30, 100), activation=tuple(CRITICAL), scale=SCALES, data=budget.data or "digits")


def measure(trial: Trial) -> Measurement:
    """The norm of the gradient with respect to every hidden layer's output, and its slope on the way back."""
    inputs, targets, classes = batch_of(trial, SAMPLES)
    model = mlp([inputs.shape[1], *[WIDTH] * DEPTH, classes], trial["activation"])
    scale = (trial["scale"] * CRITICAL[trial["activation"]]) ** 2
    initialise_(model, "variance_scaling", trial.seed, scale=scale, mode="fan_in")
    norms = gradient_norms(model, inputs, targets)
    return Measurement({"slope": slope(norms)}, {"layer": [float(i) for i in range(1, DEPTH + 1)], "norm": norms})


def verdict(results: Results) -> Verdict:
    """Slopes beside theory."""
    cases = {
        "relu_low": ("relu", 0.5),
        "relu_critical": ("relu", 1.0),
        "relu_high": ("relu", 2.0),
        "tanh_low": ("tanh", 0.5),
        "tanh_high": ("tanh", 4.0),
    }
    checks = [
        mean_check(
            PREDICTION,
            name,
            results.where(activation=activation, scale=scale).values("slope"),
            f"log10 gradient per layer back, {activation}, {scale:g} times the critical scale",
        )
        for name, (activation, scale) in cases.items()
    ]
    told = ", ".join(f"{check.estimate:+.2f}" for check in checks)
    return judge(
        checks,
        f"Slopes of log10 of the gradient per layer: {told} (ReLU at 0.5, 1 and 2 times the critical scale; tanh at "
        "0.5 and "
        "4): too small vanishes and too large explodes, as predicted.",
    )


def figure(results: Results) -> Figure:
    """Gradient norms against depth for every scale."""
    panels = [
        Panel(
            title=activation,
            x="layer",
            y="gradient norm",
            series=tuple(g.curve_line(f"{scale:g}", "layer", "norm") for scale, g in group.by("scale").items()),
            log_y=True,
        )
        for activation, group in results.by("activation").items()
    ]
    return Figure(
        "The norm of the gradient at every hidden layer, for scales of the weights in units of the critical one; the "
        "backward pass goes from right to left. Lines that fall to the left vanish, lines that rise to the left "
        "explode.",
        tuple(panels),
    )
