"""P1: signals settle over depth scales that theory names, and networks train to about six of them."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evenflow import init
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
    mean_check,
    ratio_check,
)
from evenflow.lab.claims._tuned import train_group, tuned
from evenflow.lab.training import Recipe, mlp
from evenflow.random import Stream
from evenflow.theory.depth_scales import critical_weight_variance, fixed_point

ID = "P1"
TITLE = "Depth scales of tanh networks"
STATEMENT = (
    "How similar two inputs of a random tanh network are settles exponentially over a depth scale that diverges where "
    "gradients neither vanish nor explode, and networks train to about six depth scales."
)
SOURCE = "Schoenholz et al. 2017, Deep information propagation, sections 3 to 5, figures 1, 2, 4 and 5"
PREDICTION = Prediction(
    "Layers of 300 units, biases of variance 0.05. The depth scale is that of the theory of wide networks, 3.63, "
    "7.83, 15.8, 74.9, 39.4, 11.8 and 6.98 layers at weight variances 1.0, 1.3, 1.5, 1.7, 1.9, 2.5 and 4.0: the rate, "
    "one over it, within 15 %, or within 0.01 a layer where that is more, which is what 300 units may differ from "
    "infinitely many. The gradient's growth per layer crosses 1 at a weight variance of 1.761, within 0.05. Networks "
    "train to six depth scales, within a factor of 2.",
    rate_10=(0.234, 0.317),
    rate_13=(0.1086, 0.1469),
    rate_15=(0.0533, 0.0733),
    rate_17=(0.0033, 0.0234),
    rate_19=(0.0154, 0.0354),
    rate_25=(0.0720, 0.0974),
    rate_40=(0.1218, 0.1648),
    critical=(1.711, 1.811),
    trainable=(3, 12),
)

BIAS, WIDTH, SAMPLES = 0.05, 300, 48
VARIANCES = {"10": 1.0, "13": 1.3, "15": 1.5, "17": 1.7, "19": 1.9, "25": 2.5, "40": 4.0}
# Networks whose mean is one measurement: more where chance is larger beside the rate.
NETWORKS = {1.0: 6, 1.3: 5, 1.5: 5, 1.7: 3, 1.9: 3, 2.5: 10, 4.0: 12}
SHALLOWEST, BACK = 10, 60
# The gap is followed until it is this share of its start: below, chance of 300 units takes over.
LEFT = math.exp(-1.5)
TARGET = 1.15
RATES = (0.003, 0.01)
TOGETHER = ("seed", "rate")


def design(budget: Budget) -> list[Trial]:
    """Random networks of seven weight variances, and training runs at multiples of the depth scale of some."""
    signals = grid(budget.seeds(8, 20, 100), what="signal", variance=tuple(VARIANCES.values()), rate=0.0)
    runs = grid(
        budget.seeds(5, 10, 24),
        what="training",
        variance=budget.pick((1.0, 4.0), (1.0, 4.0), (1.0, 1.3, 2.5, 4.0)),
        scales=budget.pick((2.0, 5.0, 12.5), (2.0, 5.0, 12.5), (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)),
        width=budget.pick(32, 48, WIDTH),
        steps=budget.pick(150, 300, 2000),
        rate=RATES,
        data=budget.data or "digits",
    )
    return signals + runs


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Follow signals and gradients through a random network, or train."""
    if trials[0]["what"] == "signal":
        return [_signal(trial) for trial in trials]
    recipe = Recipe(rate=0.01, steps=trials[0]["steps"], batch=32, optimiser="momentum")
    return train_group(trials, _network, recipe, TARGET)


def _network(trial: Trial, features: int, classes: int) -> nn.Sequential:
    """A network that is as many depth scales deep as the trial says."""
    scale = fixed_point("tanh", trial["variance"], BIAS).depth_scale
    depth = round(trial["scales"] * scale)
    model = mlp([features, *[trial["width"]] * depth, classes], "tanh")
    for name, parameter in model.named_parameters():
        fan_in = parameter.shape[-1]
        std = math.sqrt(BIAS if parameter.dim() == 1 else trial["variance"] / fan_in)
        init.normal_(parameter, 0.0, std, stream=Stream(trial.seed, name))
    return model


@torch.no_grad()
def _signal(trial: Trial) -> Measurement:
    """The gap between two groups of inputs of different similarity over the layers, and how gradients grow."""
    drawn = torch.Generator().manual_seed(trial.seed)
    found = [_one_network(trial["variance"], drawn) for _ in range(NETWORKS[trial["variance"]])]
    # Theory tells of the mean over networks, whose logarithm is not the mean of logarithms.
    gaps = np.mean([gaps for gaps, _ in found], axis=0)
    growth = float(np.mean([growth for _, growth in found]))
    metrics = {"rate_per_layer": decay(gaps), "log_growth": growth, "growth": math.exp(growth)}
    return Measurement(metrics, {"layer": [float(i) for i in range(len(gaps))], "gap": list(gaps / gaps[0])})


def _one_network(variance: float, drawn: torch.Generator) -> tuple[list[float], float]:
    settled = fixed_point("tanh", variance, BIAS)
    depth = max(SHALLOWEST, math.ceil(2 * settled.depth_scale))
    signal = _start(*starts(settled.correlation), settled.q, drawn)
    layers: list[tuple[Tensor, Tensor]] = []
    gaps = [gap(signal)]
    for _ in range(depth):
        weight = torch.randn(WIDTH, WIDTH, generator=drawn) * math.sqrt(variance / WIDTH)
        bias = torch.randn(WIDTH, generator=drawn) * math.sqrt(BIAS)
        active = signal.tanh()
        if len(layers) < BACK:
            layers.append((weight, 1 - active.square()))
        signal = torch.addmm(bias, active, weight.T)
        gaps.append(gap(signal))
    return gaps, gradient_growth(layers, drawn)


def starts(correlation: float) -> tuple[float, float]:
    """Correlations on either side of the fixed point, so that curvature cancels; where it is 1, below it and close."""
    if correlation == 1:
        return 0.998, 0.999
    by = min(0.15, (1 - correlation) / 3)
    return correlation - by, correlation + by


def _start(low: float, high: float, q: float, drawn: torch.Generator) -> Tensor:
    """Pre-activations of variance `q`: two groups of inputs, whose members have these correlations."""
    shared = torch.randn(WIDTH, generator=drawn)
    own = torch.randn(SAMPLES, WIDTH, generator=drawn)
    groups = [math.sqrt(c) * shared + math.sqrt(1 - c) * own for c in (low, high)]
    return torch.cat(groups) * math.sqrt(q)


def gap(signal: Tensor) -> float:
    """Mean correlation of the pairs in the second half of the rows, less that in the first half."""
    low, high = (_correlation(group.double()) for group in signal.chunk(2))
    return high - low


def _correlation(group: Tensor) -> float:
    unit = group / group.norm(dim=1, keepdim=True)
    pairs = len(group) * (len(group) - 1)
    return float((unit.sum(0).square().sum() - len(group)) / pairs)


def decay(gaps: Sequence[float] | NDArray[np.float64]) -> float:
    """The rate per layer at which a gap shrinks: a line through its logarithm until it first falls below `LEFT`."""
    shares = np.array(gaps) / gaps[0]
    below = np.flatnonzero(shares < LEFT)
    kept = shares[: max(3, below[0] if len(below) else len(shares))]
    return float(-np.polyfit(np.arange(len(kept)), np.log(kept), 1)[0])


def gradient_growth(layers: Sequence[tuple[Tensor, Tensor]], drawn: torch.Generator) -> float:
    """Logarithm of the factor of the gradient's second moment per layer, on the way back from random gradients."""
    gradient = torch.randn(layers[-1][1].shape, generator=drawn)
    logs = [0.0]
    for weight, slope in reversed(layers):
        gradient = (gradient @ weight) * slope
        size = gradient.double().square().mean().sqrt()
        gradient, growth = gradient / size, 2 * float(size.log())
        logs.append(logs[-1] + growth)
    # The first step turns random gradients into some that the layer below could have sent.
    return float(np.polyfit(np.arange(1, len(logs)), logs[1:], 1)[0])


def verdict(results: Results) -> Verdict:
    """Depth scales beside theory, the critical variance, and how many depth scales train."""
    signals = results.where(what="signal")
    checks = []
    for name, variance in VARIANCES.items():
        rates = signals.where(variance=variance).values("rate_per_layer")
        effect = f"one over the depth scale, per layer, weight variance {variance:g}"
        checks.append(mean_check(PREDICTION, f"rate_{name}", rates, effect))
    crossings, reach = _crossings(signals), _reach(_best(results))
    checks.append(mean_check(PREDICTION, "critical", crossings, "weight variance at which gradients keep their size"))
    effect = "depth to which networks train, in depth scales"
    checks.append(ratio_check(PREDICTION, "trainable", reach, np.ones_like(reach), effect))
    told = "/".join(f"{1 / check.estimate:.3g}" for check in checks[: len(VARIANCES)])
    theory = "/".join(f"{_theory(variance):.3g}" for variance in VARIANCES.values())
    return judge(
        checks,
        f"Depth scales are {told} layers at weight variances {'/'.join(f'{v:g}' for v in VARIANCES.values())}; theory "
        f"says {theory}. Gradients keep their size at a weight variance of {checks[-2].estimate:.3f} (theory: "
        f"{critical_weight_variance('tanh', BIAS):.3f}). Networks train to {checks[-1].estimate:.1f} depth scales.",
    )


def _theory(variance: float) -> float:
    return fixed_point("tanh", variance, BIAS).depth_scale


def _crossings(signals: Results) -> NDArray[np.float64]:
    """For each seed the weight variance at which the gradient's growth crosses 1, between the two that are nearest."""
    low, high = signals.pairs("log_growth", {"variance": 1.7}, {"variance": 1.9})
    crossings: NDArray[np.float64] = 1.7 + 0.2 * (0 - low) / (high - low)
    return crossings


def _best(results: Results) -> Results:
    runs = results.where(what="training")
    return tuned(runs, next(iter(runs)).trial["steps"], "variance", "scales")


def _reach(best: Results) -> NDArray[np.float64]:
    """For each seed the depth to which networks train, in depth scales: the geometric mean over weight variances.

    It lies halfway, on a logarithmic scale, between the deepest that trains and the next.
    """
    logs = [[_furthest(alone) for alone in of_seed.by("variance").values()] for of_seed in best.by("seed").values()]
    return np.array(np.exp(np.mean(logs, axis=1)))


def _furthest(runs: Results) -> float:
    depths = np.log(sorted(runs.by("scales")))
    arrived = [math.isfinite(runs.where(scales=scales).values("steps")[0]) for scales in sorted(runs.by("scales"))]
    count = arrived.index(False) if False in arrived else len(arrived)
    ends = [2 * depths[0] - depths[1], *depths, 2 * depths[-1] - depths[-2]]
    return float((ends[count] + ends[count + 1]) / 2)


def figure(results: Results) -> Figure:
    """Gaps over depth, depth scales and gradients against theory, and which depths train."""
    signals, best = results.where(what="signal"), _best(results)
    fine = [float(v) for v in np.linspace(1.0, 4.0, 61)]
    gaps = tuple(g.curve_line(f"{v:g}", "layer", "gap") for v, g in signals.by("variance").items())
    scales = tuple(1 / group.values("rate_per_layer").mean() for group in signals.by("variance").values())
    measured = Series("measured", tuple(VARIANCES.values()), tuple(map(float, scales)))
    theory = Series("theory", tuple(fine), tuple(_theory(v) for v in fine))
    growth = Series("theory", tuple(fine), tuple(fixed_point("tanh", v, BIAS).chi for v in fine))
    shares = tuple(Series(f"variance {v:g}", *_shares(group)) for v, group in best.by("variance").items())
    critical = ((critical_weight_variance("tanh", BIAS), "critical"),)
    return Figure(
        "First: how far apart two groups of inputs still are; a straight line is an exponential decay. "
        "Second: the depth scale of each line beside theory's; it grows without end at the critical weight variance, "
        "where, third, gradients keep their size. Fourth: the deeper a network is in depth scales, the fewer train.",
        (
            Panel(
                "Inputs become equally alike, by weight variance", "layer", "gap, share of the first", gaps, log_y=True
            ),
            Panel("Depth scales", "weight variance", "layers", (theory, measured), log_y=True, marked=critical),
            Panel(
                "Gradients",
                "weight variance",
                "factor per layer of its square",
                (growth, signals.line("measured", "variance", "growth")),
                expected=((1.0, "keeps its size"),),
                marked=critical,
            ),
            Panel(
                "Which depths train",
                "depth, in depth scales",
                "share of runs that train",
                shares,
                log_x=True,
                marked=((6.0, "six depth scales"),),
            ),
        ),
    )


def _shares(runs: Results) -> tuple[tuple[float, ...], tuple[float, ...]]:
    groups = runs.by("scales")
    return tuple(map(float, groups)), tuple(float(np.isfinite(g.values("steps")).mean()) for g in groups.values())
