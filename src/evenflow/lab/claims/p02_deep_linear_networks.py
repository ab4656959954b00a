"""P2: depth does not slow linear networks with orthogonal weights, and slows those with Gaussian ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
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
    steps_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, initialise_, mlp

ID = "P2"
TITLE = "Deep linear networks"
STATEMENT = (
    "Deep linear networks take a number of steps that does not depend on their depth with orthogonal weights, and one "
    "that grows with it with scaled Gaussian weights."
)
SOURCE = "Saxe et al. 2014, Exact solutions to the nonlinear dynamics of learning, section 3 and figure 6"
PREDICTION = Prediction(
    "Linear networks, orthogonal weights or Gaussian ones of variance 1 / fan_in, gradient descent at the best "
    "learning rate of each scheme and depth, steps to half of a guess's loss. From 10 to 100 layers the steps with "
    "orthogonal weights stay the same within a factor of 2; those with Gaussian weights at least double; and at 100 "
    "layers Gaussian weights take at least 3 times as many as orthogonal ones.",
    orthogonal=(0.5, 2),
    gaussian=(2, None),
    deepest=(3, None),
)

DEPTHS, SHALLOW, DEEP = (10, 30, 100), 10, 100
# A network of d linear layers moves d times as far in a step of the same rate, so the rates are divided by d.
RATES = (0.1, 0.3, 1.0)
LIMIT, TARGET = 150, 1.15
SCHEMES = {"orthogonal": "orthogonal", "gaussian": "lecun_normal"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Two schemes at three depths, each with learning rates of its own."""
    seeds = budget.seeds(8, 24, 60)
    return [
        trial
        for depth in DEPTHS
        for trial in grid(
            seeds,
            depth=depth,
            scheme=tuple(SCHEMES),
            width=budget.pick(32, 32, 512),
            rate=[rate / depth for rate in RATES],
            data=budget.data or "digits",
        )
    ]


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train to the target."""
    return train_group(trials, _network, Recipe(rate=0.1, steps=LIMIT, batch=32), TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[trial["width"]] * (trial["depth"] - 1), classes], "identity")
    return initialise_(model, SCHEMES[trial["scheme"]], trial.seed)


def verdict(results: Results) -> Verdict:
    """Ratios of steps: over depth for each scheme, and between the schemes at the largest depth."""
    best = tuned(results, LIMIT, "depth", "scheme")
    steps = {(s, d): best.where(scheme=s, depth=d).values("steps") for s in SCHEMES for d in (SHALLOW, DEEP)}
    pairs = {
        "orthogonal": (("orthogonal", DEEP), ("orthogonal", SHALLOW)),
        "gaussian": (("gaussian", DEEP), ("gaussian", SHALLOW)),
        "deepest": (("gaussian", DEEP), ("orthogonal", DEEP)),
    }
    words = {
        "orthogonal": f"steps at {DEEP} layers over those at {SHALLOW}, orthogonal",
        "gaussian": f"steps at {DEEP} layers over those at {SHALLOW}, Gaussian",
        "deepest": f"steps with Gaussian weights over those with orthogonal ones, {DEEP} layers",
    }
    checks = [
        steps_check(PREDICTION, name, steps[first], steps[second], LIMIT, words[name])
        for name, (first, second) in pairs.items()
    ]
    told = {key: np.median(np.minimum(values, LIMIT)) for key, values in steps.items()}
    lost = int((steps["gaussian", DEEP] > LIMIT).sum())
    return judge(
        checks,
        f"From {SHALLOW} to {DEEP} layers the steps go from {told['orthogonal', SHALLOW]:.0f} to "
        f"{told['orthogonal', DEEP]:.0f} with orthogonal weights and from {told['gaussian', SHALLOW]:.0f} to "
        f"{told['gaussian', DEEP]:.0f} with Gaussian ones (medians; of these {lost} of {len(steps['gaussian', DEEP])} "
        f"runs had not arrived after {LIMIT} steps).",
    )


def figure(results: Results) -> Figure:
    """Steps over depth, and the loss of the deepest networks."""
    best = tuned(results, LIMIT, "depth", "scheme")
    words = {"orthogonal": "orthogonal weights", "gaussian": "Gaussian weights"}
    steps = tuple(Series(words[scheme], *_steps_by_depth(group)) for scheme, group in best.by("scheme").items())
    curves = tuple(
        group.curve_line(words[scheme], "step", "loss") for scheme, group in best.where(depth=DEEP).by("scheme").items()
    )
    return Figure(
        "Left: steps to half of a guess's loss against depth; at the line of the budget runs had not arrived. Right: "
        f"with {DEEP} layers, orthogonal weights learn from the first step, and Gaussian ones have not reached the "
        "target at the end.",
        (
            Panel("Steps to learn", "layers", "steps", steps, log_y=True, expected=((LIMIT, "budget"),)),
            Panel(f"{DEEP} layers in training", "step", "training loss", curves, expected=((TARGET, "target"),)),
        ),
    )


def _steps_by_depth(group: Results) -> tuple[tuple[float, ...], ...]:
    depths = group.by("depth")
    values: list[NDArray[np.float64]] = [np.minimum(one.values("steps"), LIMIT) for one in depths.values()]
    return (
        tuple(map(float, depths)),
        *(tuple(float(np.quantile(v, q, method="nearest")) for v in values) for q in (0.5, 0.25, 0.75)),
    )
