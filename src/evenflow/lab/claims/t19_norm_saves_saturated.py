"""T19: what batch normalisation does for tanh and sigmoid units that start saturated, and for those that do not."""

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

ID = "T19"
TITLE = "Batch norm saves saturated units"
STATEMENT = "Batch normalisation saves sigmoid and tanh from dead activations, those stuck at an end of their range."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015, section 1 (saturated regimes)"
PREDICTION = Prediction(
    "Averaged over 200 steps of SGD and over three hidden layers that start with N(0, 1) weights, batch normalisation "
    "lowers the share of outputs beyond 97 % of their range by at least 0.3, for tanh and for sigmoid, to at most 0.1 "
    "(tanh; 0.037 of a standard normal distribution lie there) and 0.05 (sigmoid). From Glorot's weights, where there "
    "is little to save, it does not raise the share by more than 0.05.",
    tanh_saved=(0.3, None),
    sigmoid_saved=(0.3, None),
    tanh_with=(None, 0.1),
    sigmoid_with=(None, 0.05),
    tanh_good=(None, 0.05),
    sigmoid_good=(None, 0.05),
)

WIDTH, DEPTH, STEPS = 64, 3, 200
LOOKS = (0, 2, 5, 10, 20, 40, 80, 120, 160, 200)
RATES = {"tanh": 0.1, "sigmoid": 1.0}
STARTS = {"N(0, 1)": "random_normal", "Glorot": "glorot_normal"}
NORMS = {"none": None, "batch": BatchNorm1d}
TOLD = {"none": "without", "batch": "with batch norm"}
TOGETHER = ("seed",)


def design(budget: Budget) -> list[Trial]:
    """Two activations, two starts, with and without normalisation, at one learning rate an activation."""
    seeds, data = budget.seeds(10, 40, 100), budget.data or "digits"
    return [
        trial
        for activation, rate in RATES.items()
        for trial in grid(
            seeds, activation=activation, rate=rate, start=tuple(STARTS.values()), norm=tuple(NORMS), data=data
        )
    ]


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train, and watch the hidden layers saturate."""
    return watched_group(trials, _network, Recipe(rate=0.1, steps=STEPS), LOOKS)


def _network(trial: Trial, features: int, classes: int) -> nn.Module:
    model = mlp([features, *[WIDTH] * DEPTH, classes], trial["activation"], NORMS[trial["norm"]])
    return initialise_(model, trial["start"], trial.seed)


def verdict(results: Results) -> Verdict:
    """Shares averaged over training, paired by seed."""
    checks = []
    for activation, group in results.by("activation").items():
        large, good = (group.where(start=start) for start in STARTS.values())
        without, norm = large.pairs("mean", {"norm": "none"}, {"norm": "batch"})
        kept, added = good.pairs("mean", {"norm": "batch"}, {"norm": "none"})
        share = f"share of saturated {activation} outputs"
        checks += [
            paired_check(PREDICTION, f"{activation}_saved", without, norm, f"{share}, N(0, 1), without less with"),
            mean_check(PREDICTION, f"{activation}_with", norm, f"{share}, N(0, 1), with batch norm"),
            paired_check(PREDICTION, f"{activation}_good", kept, added, f"{share}, Glorot, with less without"),
        ]
    return judge(checks, " ".join(_told(results, activation) for activation in RATES))


def _told(results: Results, activation: str) -> str:
    shares = [
        f"{100 * results.where(activation=activation, start=start, norm=norm).values('mean').mean():.1f} %"
        for start in STARTS.values()
        for norm in NORMS
    ]
    return (
        f"Saturated {activation} outputs during training from N(0, 1): {shares[0]} without batch norm, {shares[1]} "
        f"with it; from Glorot's weights: {shares[2]} and {shares[3]}."
    )


def figure(results: Results) -> Figure:
    """Shares over the steps."""
    names = {scheme: name for name, scheme in STARTS.items()}
    panels = [
        Panel(
            title=f"{activation}, weights from {names[start]}",
            x="step",
            y="share of saturated outputs",
            series=tuple(one.curve_line(TOLD[norm], "step", "share") for norm, one in group.by("norm").items()),
        )
        for activation, both in results.by("activation").items()
        for start, group in both.by("start").items()
    ]
    return Figure(
        f"The share of all hidden outputs that lie beyond {100 * SATURATED:.0f} % of their range, where nearly no "
        "gradient passes, while SGD trains. Medians and quartiles over seeds.",
        tuple(panels),
    )
