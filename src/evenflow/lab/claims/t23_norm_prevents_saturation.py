"""T23: how far learning rates drive tanh and sigmoid into saturation, with and without batch normalisation."""

from collections.abc import Sequence

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
    mean_check,
    paired_check,
)
from evenflow.lab.claims._saturation import SATURATED, watched_group
from evenflow.lab.training import Recipe, initialise_, mlp
from evenflow.norm import BatchNorm1d

ID = "T23"
TITLE = "Batch norm prevents saturation"
STATEMENT = "Batch normalisation prevents saturation, also at learning rates that drive other networks into it."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015, sections 3.3 and 4.2.1"
PREDICTION = Prediction(
    "At ten times a learning rate that leaves three hidden layers with Glorot's weights unsaturated, the share of "
    "outputs beyond 97 % of their range, averaged over 150 steps of SGD, is lower with batch normalisation by at least "
    "0.2, and at most 0.15, for tanh and for sigmoid.",
    tanh_prevented=(0.2, None),
    sigmoid_prevented=(0.2, None),
    tanh_with=(None, 0.15),
    sigmoid_with=(None, 0.15),
)

WIDTH, DEPTH, STEPS = 64, 3, 150
LOOKS = (0, 5, 10, 20, 40, 80, 115, 150)
RATES = {"tanh": (0.03, 0.1, 0.3, 1.0, 3.0), "sigmoid": (0.3, 1.0, 3.0, 10.0, 30.0)}
# Ten times the second rate of each.
HIGH = {"tanh": 1.0, "sigmoid": 10.0}
NORMS = {"none": None, "batch": BatchNorm1d}
TOLD = {"none": "without", "batch": "with batch norm"}
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Two activations, five learning rates each, with and without normalisation."""
    seeds, data = budget.seeds(8, 28, 80), budget.data or "digits"
    return [
        trial
        for activation, rates in RATES.items()
        for trial in grid(seeds, activation=activation, rate=rates, norm=tuple(NORMS), data=data)
    ]


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train at all rates, and watch the hidden layers saturate."""
    return watched_group(trials, _network, Recipe(rate=0.1, steps=STEPS), LOOKS)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * DEPTH, classes], trial["activation"], NORMS[trial["norm"]])
    return initialise_(model, "glorot_normal", trial.seed)


def verdict(results: Results) -> Verdict:
    """Shares at the high rate, paired by seed."""
    checks, told = [], []
    for activation, rate in HIGH.items():
        high = results.where(activation=activation, rate=rate)
        without, norm = high.pairs("mean", {"norm": "none"}, {"norm": "batch"})
        share = f"share of saturated {activation} outputs at rate {rate:g}"
        checks += [
            paired_check(PREDICTION, f"{activation}_prevented", without, norm, f"{share}, without less with"),
            mean_check(PREDICTION, f"{activation}_with", norm, f"{share}, with batch norm"),
        ]
        top = results.where(activation=activation, rate=max(RATES[activation]), norm="batch").values("mean").mean()
        told.append(
            f"{activation} at rate {rate:g}: {100 * without.mean():.0f} % of outputs saturate without batch norm, "
            f"{100 * norm.mean():.1f} % with it ({100 * top:.0f} % at rate {max(RATES[activation]):g})"
        )
    return judge(checks, f"{'; '.join(told)}.")


def figure(results: Results) -> Figure:
    """Shares against the rate, and over the steps at the high one."""
    panels = []
    for activation, group in results.by("activation").items():
        shares = tuple(one.line(TOLD[norm], "rate", "mean") for norm, one in group.by("norm").items())
        panels.append(
            Panel(
                title=f"{activation}: saturation by learning rate",
                x="learning rate",
                y="share of saturated outputs",
                series=shares,
                log_x=True,
                marked=((HIGH[activation], "judged here"),),
            )
        )
        high = group.where(rate=HIGH[activation])
        steps = tuple(one.curve_line(TOLD[norm], "step", "share") for norm, one in high.by("norm").items())
        panels.append(Panel(f"{activation} at rate {HIGH[activation]:g}", "step", "share of saturated outputs", steps))
    return Figure(
        f"The share of all hidden outputs that lie beyond {100 * SATURATED:.0f} % of their range: averaged over the "
        "training at every learning rate, and step by step at ten times one that leaves the units unsaturated. "
        "Medians and quartiles over seeds.",
        tuple(panels),
    )
