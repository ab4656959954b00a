"""T8: He's rule keeps the signal of ReLU and Leaky-ReLU, and 30 layers train with it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

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
    ratio_check,
    share_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, initialise_, load_split, mlp

ID = "T8"
TITLE = "He suits ReLU"
STATEMENT = "He's initialisation suits ReLU and Leaky-ReLU: 30 layers train with it, and stall with Glorot's."
SOURCE = "notes: Kaiming initialisation; He et al. 2015, section 2.2 and figure 3"
PREDICTION = Prediction(
    "Over 30 layers of equal width the second moment of the pre-activations is multiplied per layer by 1.00 with "
    "He's weights "
    "(within 0.05), for ReLU and for Leaky-ReLU of slope 0.2 with the gain of its slope; by 0.50 (within 0.05) with "
    "Glorot's. "
    "A 30-layer ReLU network reaches half of a guess's loss with He's weights, and stalls with Glorot's, each at its "
    "best "
    "learning rate.",
    relu=(0.95, 1.05),
    leaky_relu=(0.95, 1.05),
    glorot=(0.45, 0.55),
    he_trains=(0.5, 1),
    glorot_trains=(0, 0.5),
)

DEPTH, WIDTH, SLOPE = 30, 64, 0.2
LIMIT, TARGET = 220, 1.15
RATES = (0.003, 0.03)
MOMENTS = {"relu": ("relu", "he"), "leaky_relu": ("leaky_relu", "he"), "glorot": ("relu", "glorot")}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Moments of wide networks, and training runs of narrow ones."""
    data = budget.data or "digits"
    moments = [
        trial
        for activation, scheme in MOMENTS.values()
        for trial in grid(
            budget.seeds(8, 24, 60), what="moments", activation=activation, scheme=scheme, rate=0.0, data=data
        )
    ]
    runs = grid(
        budget.seeds(12, 24, 60), what="training", activation="relu", scheme=("he", "glorot"), rate=RATES, data=data
    )
    return moments + runs


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Moments against depth, or training."""
    if trials[0]["what"] == "moments":
        return [_moments(trial) for trial in trials]
    return train_group(trials, _network, Recipe(rate=0.01, steps=LIMIT, optimiser="momentum"), TARGET)


def _network(trial: Trial, features: int, classes: int, width: int = WIDTH) -> nn.Sequential:
    model = mlp([features, *[width] * (DEPTH - 1), classes], trial["activation"])
    for layer in model:
        if isinstance(layer, nn.LeakyReLU):
            layer.negative_slope = SLOPE
    slope = SLOPE if trial["activation"] == "leaky_relu" else 0.0
    scale = 1.0 if trial["scheme"] == "glorot" else 2 / (1 + slope**2)
    mode = "fan_avg" if trial["scheme"] == "glorot" else "fan_in"
    initialise_(model, "variance_scaling", trial.seed, scale=scale, mode=mode)
    return model


@torch.no_grad()
def _moments(trial: Trial) -> Measurement:
    data = load_split(trial["data"])
    signal, moments = data.inputs[:256], []
    for layer in _network(trial, signal.shape[1], 10, width=512):
        signal = layer(signal)
        if isinstance(layer, nn.Linear) and layer.out_features == layer.in_features:
            moments.append(float(signal.double().square().mean()))
    factor = (moments[-1] / moments[0]) ** (1 / (len(moments) - 1))
    layers = [float(i) for i in range(2, len(moments) + 2)]
    return Measurement({"factor": factor}, {"layer": layers, "moment": moments})


def verdict(results: Results) -> Verdict:
    """Factors per layer, and which runs arrive."""
    moments, best = results.where(what="moments"), tuned(results.where(what="training"), LIMIT, "scheme")
    checks = []
    for name, (activation, scheme) in MOMENTS.items():
        factors = moments.where(activation=activation, scheme=scheme).values("factor")
        effect = f"factor of the second moment per layer, {activation}, {scheme}"
        checks.append(ratio_check(PREDICTION, name, factors, np.ones_like(factors), effect))
    for scheme in ("he", "glorot"):
        arrived = best.where(scheme=scheme).values("steps") <= LIMIT
        checks.append(
            share_check(PREDICTION, f"{scheme}_trains", arrived, f"share of 30-layer runs that train, {scheme}")
        )
    relu, leaky, glorot, he_trains, glorot_trains = (check.estimate for check in checks)
    return judge(
        checks,
        f"The second moment changes per layer by {relu:.3f} with He's weights (Leaky-ReLU: {leaky:.3f}) and by "
        f"{glorot:.3f} with "
        f"Glorot's. Of the 30-layer runs {100 * he_trains:.0f} % train with He's and {100 * glorot_trains:.0f} % "
        "with Glorot's.",
    )


def figure(results: Results) -> Figure:
    """Moments and loss curves."""
    moments = results.where(what="moments")
    told = {"relu": "ReLU, He", "leaky_relu": "Leaky-ReLU, He", "glorot": "ReLU, Glorot"}
    lines = tuple(
        moments.where(activation=activation, scheme=scheme).curve_line(told[name], "layer", "moment")
        for name, (activation, scheme) in MOMENTS.items()
    )
    best = tuned(results.where(what="training"), LIMIT, "scheme")
    words = {"he": "He's weights", "glorot": "Glorot's weights"}
    curves = tuple(group.curve_line(words[scheme], "step", "loss") for scheme, group in best.by("scheme").items())
    return Figure(
        "Left: ReLU halves the second moment in each layer. He's rule makes up for it; Glorot's does not, and after 30 "
        "layers a billionth is left. Right: so 30 layers with Glorot's weights see nothing of the input and stay at "
        "the loss of a guess, a flat line, while with He's weights the loss falls (compare figure 3 of He et al.).",
        (
            Panel("Strength of the signal", "layer", "second moment", lines, log_y=True),
            Panel("30 ReLU layers in training", "step", "training loss", curves, expected=((TARGET, "target"),)),
        ),
    )
