"""T6: Glorot's rule keeps signals through depth, where the activation lets it."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
    ratio_check,
)
from evenflow.lab.training import initialise_, load_split, mlp

ID = "T6"
TITLE = "Glorot keeps the signal"
STATEMENT = (
    "Glorot's initialisation takes account of fan-in and fan-out, so that signals neither saturate nor vanish in the "
    "forward "
    "pass."
)
SOURCE = "notes: Xavier initialisation; Glorot & Bengio 2010, figures 6 and 7"
PREDICTION = Prediction(
    "In five hidden layers of tanh, softsign or sigmoid units, the spread of the outputs over samples in the last "
    "hidden layer "
    "is within a factor of 4 of that in the first, and less than 0.05 of the outputs are saturated. So are the "
    "gradients, back "
    "from the last layer to the first, for tanh. With the older U(-1, 1) / sqrt(fan_in), tanh's spread falls below a "
    "quarter.",
    tanh=(0.25, 4),
    softsign=(0.25, 4),
    sigmoid=(0.25, 4),
    saturated=(None, 0.05),
    tanh_gradient=(0.25, 4),
    older=(0, 0.25),
)

DEPTH, SAMPLES, SATURATED = 5, 256, 0.97
ACTIVATIONS = ("tanh", "softsign", "sigmoid")


def design(budget: Budget) -> list[Trial]:
    """Glorot's rule and the one before it, three activations."""
    return grid(
        budget.seeds(8, 20, 50),
        activation=ACTIVATIONS,
        scheme=("glorot_uniform", "older"),
        width=budget.pick(200, 500, 1000),
        data=budget.data or "digits",
    )


def measure(trial: Trial) -> Measurement:
    """The spread of every hidden layer's outputs over samples, and of the gradient with respect to them."""
    data = load_split(trial["data"])
    rows = torch.randperm(len(data.inputs), generator=torch.Generator().manual_seed(trial.seed))[:SAMPLES]
    model = mlp([data.inputs.shape[1], *[trial["width"]] * DEPTH, int(data.targets.max()) + 1], trial["activation"])
    if trial["scheme"] == "older":
        initialise_(model, "variance_scaling", trial.seed, scale=1 / 3, mode="fan_in", distribution="uniform")
    else:
        initialise_(model, trial["scheme"], trial.seed)
    outputs, gradients = _signals(model, data.inputs[rows], data.targets[rows])
    spreads = [float(output.std(0).square().mean().sqrt()) for output in outputs]
    sizes = [float(gradient.square().mean().sqrt()) for gradient in gradients]
    scaled = [2 * o - 1 if trial["activation"] == "sigmoid" else o for o in outputs]
    return Measurement(
        {
            "spread_ratio": spreads[-1] / spreads[0],
            "gradient_ratio": sizes[0] / sizes[-1],
            "saturated": sum(float((o.abs() > SATURATED).float().mean()) for o in scaled) / DEPTH,
        },
        {"layer": [float(i) for i in range(1, DEPTH + 1)], "spread": spreads, "gradient": sizes},
    )


def _signals(model: nn.Sequential, signal: Tensor, targets: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    outputs = []
    for layer in model:
        signal = layer(signal)
        if not isinstance(layer, nn.Linear):
            outputs.append(signal)
    gradients = torch.autograd.grad(F.cross_entropy(signal, targets), outputs)
    return [output.detach() for output in outputs], list(gradients)


def verdict(results: Results) -> Verdict:
    """Ratios of the last hidden layer to the first."""
    glorot, ones = results.where(scheme="glorot_uniform"), {a: results.where(activation=a) for a in ACTIVATIONS}
    checks = [
        _ratio(a, ones[a].where(scheme="glorot_uniform"), "spread_ratio", f"spread, {a}, Glorot") for a in ACTIVATIONS
    ]
    checks += [
        mean_check(PREDICTION, "saturated", glorot.values("saturated"), "share of saturated outputs, Glorot"),
        _ratio(
            "tanh_gradient", ones["tanh"].where(scheme="glorot_uniform"), "gradient_ratio", "gradient, tanh, Glorot"
        ),
        _ratio("older", ones["tanh"].where(scheme="older"), "spread_ratio", "spread, tanh, U(-1, 1) / sqrt(fan_in)"),
    ]
    tanh, softsign, sigmoid, *_ = (check.estimate for check in checks)
    return judge(
        checks,
        f"Over five layers Glorot keeps {tanh:.2f} of the spread for tanh and {softsign:.2f} for softsign, but "
        f"{sigmoid:.3f} for "
        f"sigmoid, whose derivative is at most 1/4; the older rule keeps {checks[-1].estimate:.2f} for tanh.",
    )


def _ratio(name: str, results: Results, metric: str, effect: str) -> Check:
    values = results.values(metric)
    return ratio_check(PREDICTION, name, values, np.ones_like(values), f"{effect}: ratio over the depth")


def figure(results: Results) -> Figure:
    """Spread and gradients against depth."""
    panels = []
    for scheme, group in results.by("scheme").items():
        for curve, told in (("spread", "spread of the outputs"), ("gradient", "gradient")):
            series = tuple(
                one.curve_line(activation, "layer", curve) for activation, one in group.by("activation").items()
            )
            panels.append(Panel(f"{told.capitalize()}, {scheme}", "hidden layer", told, series, log_y=True))
    return Figure(
        "Glorot's weights keep tanh's and softsign's signals nearly even in both directions; sigmoid loses three "
        "quarters at "
        "every layer whatever the fans.",
        tuple(panels),
    )
