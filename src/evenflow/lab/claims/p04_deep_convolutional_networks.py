"""P4: plain convolutional tanh networks of very many layers train from delta-orthogonal weights at criticality."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow import init
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
    ratio_check,
    steps_check,
)
from evenflow.lab.claims._tuned import tuned
from evenflow.lab.training import Recipe, load_split, train_together
from evenflow.random import Stream
from evenflow.theory.mean_field import critical_point

ID = "P4"
TITLE = "Very deep convolutional networks"
STATEMENT = (
    "Plain convolutional tanh networks of a thousand layers and more, without normalisation or residual sums, train "
    "from delta-orthogonal weights at criticality, and learn much faster than from Gaussian weights of equal variance."
)
STATED = 1000
SOURCE = "Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs, sections 3 and 4, figures 1 and 5"
PREDICTION = Prediction(
    "Weights and biases on the critical line of tanh, at a signal of variance one over the depth. With "
    "delta-orthogonal weights the training loss falls below half of a guess's within the budget, and with Gaussian "
    "ones it takes at least twice as many steps to get there, each at its best learning rate: 50 layers at `quick`, "
    "100 at `normal` and 1,000 at `full`.",
    trains=(None, 0.5),
    gaussian=(2, None),
)

TARGET, GUESS = 1.15, math.log(10)
# For 50 layers; what a step does grows with the number of layers, so the rates are divided by it.
RATES = (0.001, 0.003)
SCHEMES = ("delta_orthogonal", "gaussian")
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Two schemes on one critical point."""
    depth = budget.pick(50, 100, 1000)
    return grid(
        budget.seeds(8, 12, 24),
        scheme=SCHEMES,
        depth=depth,
        channels=budget.pick(8, 8, 32),
        side=budget.pick(4, 4, 8),
        steps=budget.pick(105, 170, 1000),
        rate=[rate * 50 / depth for rate in RATES],
        data=budget.data or "digits",
    )


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train to the target."""
    data = _images(load_split(trials[0]["data"]), trials[0]["side"])
    models = [network(trial, int(data.targets.max()) + 1) for trial in trials]
    recipe = Recipe(rate=0.001, steps=trials[0]["steps"], batch=32, optimiser="adam")
    rates = [trial["rate"] for trial in trials]
    runs = train_together(models, data, recipe, [trial.seed for trial in trials], rates)
    return [run.measurement(TARGET) for run in runs]


def _images(data: Split, side: int) -> Split:
    """The images, averaged to a number of pixels a side."""
    return Split(_image(data.inputs, side), data.targets, _image(data.test_inputs, side), data.test_targets)


def _image(inputs: Tensor, side: int) -> Tensor:
    own = math.isqrt(inputs.shape[1])
    return F.adaptive_avg_pool2d(inputs.view(-1, 1, own, own), side)


def network(trial: Trial, classes: int) -> nn.Sequential:
    """Convolutions and tanh, all alike but the first, and a linear layer on all that is left."""
    channels, parts = trial["channels"], list[nn.Module]()
    for inputs in (1, *[channels] * (trial["depth"] - 1)):
        parts += [nn.Conv2d(inputs, channels, 3, padding=1), nn.Tanh()]
    model = nn.Sequential(*parts, nn.Flatten(), nn.Linear(channels * trial["side"] ** 2, classes))
    point = critical_point("tanh", 1 / trial["depth"])
    for name, parameter in model.named_parameters():
        stream = Stream(trial.seed, name)
        if parameter.dim() == 1:
            init.normal_(parameter, 0.0, math.sqrt(point.bias_variance), stream=stream)
        elif parameter.dim() == 4 and trial["scheme"] == "delta_orthogonal":
            init.delta_orthogonal_(parameter, math.sqrt(point.weight_variance), stream=stream)
        else:
            init.variance_scaling_(parameter, scale=point.weight_variance, mode="fan_in", stream=stream)
    return model


def verdict(results: Results) -> Verdict:
    """The loss that delta-orthogonal weights reach, and the steps that Gaussian ones take beside theirs."""
    limit = _limit(results)
    best = tuned(results, limit, "scheme")
    delta, gaussian = (best.where(scheme=scheme) for scheme in SCHEMES)
    losses, depth = delta.values("final_loss"), next(iter(best)).trial["depth"]
    checks = [
        ratio_check(
            PREDICTION,
            "trains",
            losses,
            np.full_like(losses, GUESS),
            f"training loss after {limit} steps over that of a guess, delta-orthogonal, {depth} layers",
        ),
        steps_check(
            PREDICTION,
            "gaussian",
            gaussian.values("steps"),
            delta.values("steps"),
            limit,
            "steps to half of a guess's loss, Gaussian over delta-orthogonal",
        ),
    ]
    words = {"delta_orthogonal": "delta-orthogonal", "gaussian": "Gaussian"}
    arrived = {scheme: group.values("steps") <= limit for scheme, group in best.by("scheme").items()}
    told = " and ".join(f"{a.sum()} of {len(a)} with {words[s]} weights" for s, a in arrived.items())
    return judge(
        checks,
        f"{depth} plain convolutional layers: within {limit} steps there arrive {told}. The delta-orthogonal loss ends "
        f"at {checks[0].estimate * GUESS:.2f}; Gaussian weights take {checks[1].estimate:.1f} times as many steps or "
        "more." + ("" if depth >= STATED else f" The statement's {STATED:,} layers are run at the budget full only."),
    )


def _limit(results: Results) -> int:
    return int(next(iter(results)).trial["steps"])


def figure(results: Results) -> Figure:
    """The loss of both."""
    best = tuned(results, _limit(results), "scheme")
    depth = next(iter(best)).trial["depth"]
    words = {"delta_orthogonal": "delta-orthogonal", "gaussian": "Gaussian"}
    curves = tuple(group.curve_line(words[s], "step", "loss") for s, group in best.by("scheme").items())
    accuracy = best.line("accuracy", "scheme", "accuracy")
    return Figure(
        f"Left: the training loss of {depth} convolutional layers in a row; both schemes have weights of the same "
        "variance. Delta-orthogonal ones pass every direction of the signal on as it is; Gaussian ones lose most of "
        "them on the way. Right: the share of test images that each classifies rightly at the end; a guess has 0.1.",
        (
            Panel(f"{depth} layers", "step", "training loss", curves, expected=((TARGET, "target"), (GUESS, "guess"))),
            Panel(
                "Test images",
                "initial weights",
                "accuracy",
                (replace(accuracy, x=tuple(words.values())),),
                "bars",
                expected=((0.1, "guess"),),
            ),
        ),
    )
