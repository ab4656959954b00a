"""T16: whether fewer steps with batch normalisation are less time, when every step costs more."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow.errors import NoResultsError
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
from evenflow.lab.claims._tuned import counted, pilot_seeds
from evenflow.lab.training import batch_order, initialise_, load_split, mlp
from evenflow.norm import BatchNorm1d

ID = "T16"
TITLE = "Batch normalisation and time"
STATEMENT = "Batch normalisation reduces training time."
SOURCE = "notes: batch normalisation; Ioffe & Szegedy 2015 (in steps, abstract and section 4.2)"
PREDICTION = Prediction(
    "Seconds of forward pass, backward pass and optimiser step until the smoothed training loss is at most 0.4, "
    "with batch normalisation over without, its cost included, each at its own best learning rate of three, all "
    "networks of a seed trained in turns on one core: at most 0.8 in the set-up of Ioffe & Szegedy's figure 1 (three "
    "hidden layers of 100 sigmoid units on images of 28 by 28), and at most 0.8 in a network that has a good start "
    "without it (five hidden layers of 64 ReLU units, He's weights, on images of 8 by 8). The same with torch's layer "
    "in place of evenflow's, as a step costs less with it in layers this small.",
    sigmoid=(None, 0.8),
    relu=(None, 0.8),
    sigmoid_torch=(None, 0.8),
    relu_torch=(None, 0.8),
)

LIMIT, TARGET, SMOOTHING, WARM_UP, BEYOND = 200, 0.4, 0.9, 5, 1e4
NORMS: dict[str, Callable[[int], nn.Module] | None] = {"none": None, "batch": BatchNorm1d, "torch": nn.BatchNorm1d}
Array = NDArray[np.float64]
# A trial reads a clock: nothing else may run beside it.
EXCLUSIVE = True


@dataclass(frozen=True)
class Problem:
    """A network, its data, and how it is trained."""

    data: str
    hidden: tuple[int, ...]
    std: float | None
    batch: int
    momentum: float
    rates: tuple[float, ...]


PROBLEMS = {
    "sigmoid": Problem("mnist", (100,) * 3, 0.1, 60, 0.9, (0.1, 0.3, 0.9)),
    "relu": Problem("digits", (64,) * 5, None, 64, 0.0, (0.02, 0.1, 0.5)),
}


def design(budget: Budget) -> list[Trial]:
    """A trial trains all rates with and without normalisation."""
    return [
        trial
        for name, problem in PROBLEMS.items()
        for trial in grid(budget.seeds(7, 24, 60), problem=name, data=budget.data or problem.data)
    ]


class Learner:
    """A network on its way to the target, and the seconds that its steps took.

    Args:
        model: The network.
        rate: Learning rate of SGD.
        momentum: Its momentum.
    """

    def __init__(self, model: nn.Module, rate: float, momentum: float) -> None:
        self.model = model
        self.optimiser = torch.optim.SGD(model.parameters(), rate, momentum=momentum)
        self.seconds, self.steps, self.smoothed, self.arrived, self.ended = 0.0, 0, math.nan, False, False

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """Take a step on the clock, and see whether it has arrived or diverged."""
        start = time.perf_counter()
        loss = F.cross_entropy(self.model(inputs), targets)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        now = loss.item()
        self.seconds += time.perf_counter() - start
        self.steps += 1
        self.smoothed = SMOOTHING * self.smoothed + (1 - SMOOTHING) * now if self.steps > 1 else now
        self.arrived = self.smoothed <= TARGET
        self.ended = self.arrived or not now <= BEYOND


def measure(trial: Trial) -> Measurement:
    """Train all networks of a seed in turns, and tell the steps and seconds of each."""
    problem, data = PROBLEMS[trial["problem"]], load_split(trial["data"])
    for learner in _learners(trial).values():  # what the first calls load and compile is nobody's cost
        for rows in batch_order(len(data.inputs), problem.batch, WARM_UP, trial.seed):
            learner.step(data.inputs[rows], data.targets[rows])
    learners = _learners(trial)
    for number, rows in enumerate(batch_order(len(data.inputs), problem.batch, LIMIT, trial.seed)):
        inputs, targets = data.inputs[rows], data.targets[rows]
        going = [learner for learner in learners.values() if not learner.ended]
        first = number % max(len(going), 1)
        for learner in going[first:] + going[:first]:
            learner.step(inputs, targets)
    metrics = {}
    for name, learner in learners.items():
        metrics[f"{name}_steps"] = float(learner.steps) if learner.arrived else math.inf
        metrics[f"{name}_seconds"] = learner.seconds
        metrics[f"{name}_step"] = learner.seconds / learner.steps
    return Measurement(metrics)


def _learners(trial: Trial) -> dict[str, Learner]:
    problem, data = PROBLEMS[trial["problem"]], load_split(trial["data"])
    sizes = [data.inputs.shape[1], *problem.hidden, int(data.targets.max()) + 1]
    learners = {}
    for norm, layer in NORMS.items():
        for rate in problem.rates:
            model = mlp(sizes, trial["problem"], layer)
            if problem.std is None:
                initialise_(model, "he_normal", trial.seed)
            else:
                initialise_(model, "normal", trial.seed, std=problem.std)
            learners[_name(norm, rate)] = Learner(model, rate, problem.momentum)
    return learners


def _name(norm: str, rate: float) -> str:
    return f"{norm}_{rate:g}"


def best_rate(results: Results, norm: str) -> float:
    """The rate of the fewest steps, on seeds that do not count."""
    pilot = results.where(seed=pilot_seeds(results))
    rates = PROBLEMS[pilot.rows[0].trial["problem"]].rates
    steps = {rate: np.minimum(pilot.values(f"{_name(norm, rate)}_steps"), LIMIT).mean() for rate in rates}
    return min(steps, key=steps.__getitem__)


def compared(results: Results, norm: str, what: str) -> tuple[Array, Array]:
    """A metric with and without normalisation, each at its best rate.

    A network without normalisation that does not arrive counts with what it has taken, which is less than it needs.

    Raises:
        NoResultsError: One with normalisation does not arrive, or most without do not.
    """
    batch, none = (_name(one, best_rate(results, one)) for one in (norm, "none"))
    left = counted(results)
    late = [int(np.isinf(left.values(f"{name}_steps")).sum()) for name in (batch, none)]
    if late[0] or late[1] > len(left) / 2:
        raise NoResultsError(
            f"times to the target need runs that arrive; of {len(left)} {late[0]} do not with normalisation, and "
            f"{late[1]} without"
        )
    found = left.values(f"{batch}_{what}"), left.values(f"{none}_{what}")
    return (np.minimum(found[0], LIMIT), np.minimum(found[1], LIMIT)) if what == "steps" else found


def verdict(results: Results) -> Verdict:
    """Ratios of seconds within the trials."""
    checks, told = [], []
    for norm, suffix in (("batch", ""), ("torch", "_torch")):
        for name, group in results.by("problem").items():
            words = f"seconds to the target with normalisation over without, {name}{', torch' * bool(suffix)}"
            checks.append(ratio_check(PREDICTION, name + suffix, *compared(group, norm, "seconds"), words))
            steps, step = (_ratio(compared(group, norm, what)) for what in ("steps", "step"))
            told.append(
                f"{checks[-1].estimate:.2f} of the time in the {name} network{' with torch' * bool(suffix)} "
                f"({steps:.2f} of the steps, each {step:.2f} times as long)"
            )
    return judge(checks, f"With batch normalisation training to a loss of {TARGET} takes {'; '.join(told)}.")


def _ratio(pair: tuple[Array, Array]) -> float:
    return float(np.exp(np.mean(np.log(pair[0]) - np.log(pair[1]))))


def figure(results: Results) -> Figure:
    """Ratios of steps, of the time of a step, and of the time to the target."""
    parts = {"steps": "steps to the target", "step": "time of a step", "seconds": "time to the target"}
    panels = []
    for name, group in results.by("problem").items():
        series = []
        for norm, told in (("batch", "evenflow's layer"), ("torch", "torch's layer")):
            ratios = [np.divide(*compared(group, norm, what)) for what in parts]
            low, middle, high = (tuple(float(np.quantile(r, q)) for r in ratios) for q in (0.25, 0.5, 0.75))
            series.append(Series(told, tuple(parts.values()), middle, low, high))
        panels.append(
            Panel(f"{name} network", "", "with over without", tuple(series), "bars", expected=((1.0, "no gain"),))
        )
    return Figure(
        "With batch normalisation over without, medians and quartiles over seeds: below 1 normalisation is better. "
        "The time to the target is the product of the two others: fewer steps, of which each takes longer.",
        tuple(panels),
    )
