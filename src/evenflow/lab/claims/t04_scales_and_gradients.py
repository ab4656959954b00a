"""T4: weights that are too small or too large make gradients vanish or explode, at a rate that theory names."""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from evenflow.lab.training import initialise_, load_split, mlp

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
    data = load_split(trial["data"])
    order = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(trial.seed))[:SAMPLES]
    inputs, targets = data.inputs[order], data.targets[order]
    model = mlp([inputs.shape[1], *[WIDTH] * DEPTH, int(data.targets.max()) + 1], trial["activation"])
    scale = (trial["scale"] * CRITICAL[trial["activation"]]) ** 2
    initialise_(model, "variance_scaling", trial.seed, scale=scale, mode="fan_in")
    norms = gradient_norms(model, inputs, targets)
    # From the last hidden layer back to the first.
    back = np.log10(np.array(norms[::-1]).clip(min=1e-45))
    slope = np.polyfit(np.arange(len(back)), back, 1)[0]
    return Measurement({"slope": slope}, {"layer": [float(i) for i in range(1, DEPTH + 1)], "norm": norms})


def gradient_norms(model: nn.Sequential, inputs: Tensor, targets: Tensor) -> list[float]:
    """The norm of the loss gradient with respect to what each linear layer but the last gives."""
    outputs: list[Tensor] = []
    signal = inputs
    for layer in model:
        signal = layer(signal)
        if isinstance(layer, nn.Linear):
            outputs.append(signal)
    gradients = torch.autograd.grad(F.cross_entropy(signal.double(), targets), outputs[:-1])
    return [float(gradient.double().norm()) for gradient in gradients]


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
            series=tuple(
                g.curve_line(f"{scale:g} x critical", "layer", "norm") for scale, g in group.by("scale").items()
            ),
            log_y=True,
        )
        for activation, group in results.by("activation").items()
    ]
    return Figure(
        "The norm of the gradient at every hidden layer; the backward pass goes from right to left. Lines that fall "
        "to the "
        "left vanish, lines that rise to the left explode.",
        tuple(panels),
    )
