"""T11: all schemes, all activations, one table."""

from collections.abc import Sequence

import numpy as np
from torch import nn

from evenflow.lab import (
    Budget,
    Figure,
    Measurement,
    Panel,
    Prediction,
    Results,
    Series,
    Trial,
    Verdict,
    grid,
    judge,
    ratio_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, initialise_, load_split, mlp
from evenflow.planning import initialize_

ID = "T11"
TITLE = "A good start is a fast one"
STATEMENT = "Good initialisation makes convergence faster."
SOURCE = "notes: why initialisation matters"
PREDICTION = Prediction(
    "Over eight activations, the scheme that suits each (He for the ReLU family, Glorot for tanh and softsign, LeCun "
    "for SELU, "
    "evenflow's own for the sigmoid) takes at most half of the steps that N(0, 1), U(0, 1) and a constant take on "
    "average, to "
    "half of a guess's loss in six layers; and it is at most 1.5 times slower than the best of all schemes. Adam, "
    "each scheme at "
    "its best learning rate.",
    naive=(None, 0.5),
    best=(None, 1.5),
)

WIDTH, DEPTH, LIMIT, TARGET = 48, 6, 120, 1.15
RATES = (0.001, 0.01)
NAIVE = ("constant", "random_uniform", "random_normal")
SCHEMES = (*NAIVE, "glorot_normal", "he_normal", "lecun_normal", "orthogonal", "auto")
SUITED = {
    "relu": "he_normal",
    "leaky_relu": "he_normal",
    "gelu": "he_normal",
    "silu": "he_normal",
    "tanh": "glorot_normal",
    "softsign": "glorot_normal",
    "selu": "lecun_normal",
    "sigmoid": "auto",
}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Eight schemes, eight activations, two learning rates."""
    seeds = budget.seeds(4, 12, 30)
    return grid(seeds, activation=tuple(SUITED), scheme=SCHEMES, rate=RATES, data=budget.data or "digits")


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train to the target."""
    return train_group(trials, _network, Recipe(rate=0.01, steps=LIMIT, optimiser="adam"), TARGET, every=10)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * (DEPTH - 1), classes], trial["activation"])
    if trial["scheme"] == "auto":
        data = load_split(trial["data"])
        initialize_(model, (data.inputs[:256], data.targets[:256]), seed=trial.seed)
        return model
    return initialise_(model, trial["scheme"], trial.seed, **({"val": 0.1} if trial["scheme"] == "constant" else {}))


def verdict(results: Results) -> Verdict:
    """One ratio for each seed: the geometric mean over the activations."""
    best = tuned(results, LIMIT, "activation", "scheme")
    logs = {
        (activation, scheme): np.log(np.minimum(one.values("steps"), LIMIT))
        for activation, group in best.by("activation").items()
        for scheme, one in group.by("scheme").items()
    }
    suited = np.mean([logs[pair] for pair in SUITED.items()], axis=0)
    naive = np.mean([logs[activation, scheme] for activation in SUITED for scheme in NAIVE], axis=0)
    fastest = np.mean([min((logs[a, s] for s in SCHEMES), key=np.mean) for a in SUITED], axis=0)
    within = f"within {LIMIT} steps"
    checks = [
        ratio_check(
            PREDICTION, "naive", np.exp(suited), np.exp(naive), f"steps of the suited scheme over naive ones, {within}"
        ),
        ratio_check(PREDICTION, "best", np.exp(suited), np.exp(fastest), f"the same over the best scheme, {within}"),
    ]
    return judge(
        checks,
        f"The suited scheme takes {checks[0].estimate:.2f} of the steps of naive ones, and {checks[1].estimate:.2f} "
        "times those of "
        "the best scheme for each activation.",
    )


def figure(results: Results) -> Figure:
    """Steps of every scheme for every activation."""
    best = tuned(results, LIMIT, "activation", "scheme")
    names = tuple(SUITED)
    series = []
    for scheme, group in best.by("scheme").items():
        medians = [float(np.median(np.minimum(group.where(activation=a).values("steps"), LIMIT))) for a in names]
        series.append(Series(scheme, names, tuple(medians)))
    panel = Panel(
        "Steps to the target", "activation", "steps", tuple(series), "bars", log_y=True, expected=((LIMIT, "budget"),)
    )
    return Figure(
        "Medians over seeds, each scheme at its best learning rate; those at the budget never arrived.", (panel,)
    )
