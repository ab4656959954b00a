"""T12: whether clipping saves recurrent networks whose gradients explode."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from evenflow.clip import clip_grad_norm_, clip_grad_value_
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
    paired_check,
)
from evenflow.lab.claims._adding import AT_START, PARAMETERS, Adders, batches

ID = "T12"
TITLE = "Clipping and exploding gradients"
STATEMENT = "Gradient clipping prevents exploding gradients."
SOURCE = "notes: gradient clipping; Pascanu et al. 2013, section 3.2; Graves 2013 (by value)"
PREDICTION = Prediction(
    "ReLU networks of 32 recurrent units learn to add two numbers of sequences of 100, by gradient descent at "
    "learning rates of 0.01 to 0.3. A run explodes when its loss stops being finite, or ends above that of an output "
    "of zero, where it began. Clipping the norm at 1 leaves less than half as many runs that explode, at the same "
    "rates and on the same batches; so does clipping by value at 0.03, where a gradient whose entries are all "
    "clipped has the same norm of 1.",
    norm=(0, None),
    value=(0, None),
)

RATES = (0.01, 0.03, 0.1, 0.3)
MAX_NORM, LAST = 1.0, 0.1
MAX_VALUE = MAX_NORM / math.sqrt(PARAMETERS)
CLIPPINGS = {"none": "no clipping", "norm": "norm of 1", "value": f"values of {MAX_VALUE:.2f}"}
TOGETHER = ("seed", "rate", "clipping")


def design(budget: Budget) -> list[Trial]:
    """Three ways of clipping, four learning rates, paired by weights and batches."""
    length, steps = budget.pick((100, 200), (100, 200), (400, 1000))
    return grid(budget.seeds(12, 30, 60), clipping=tuple(CLIPPINGS), rate=RATES, length=length, steps=steps)


def measure_together(trials: Sequence[Trial]) -> list[Measurement]:
    """Train all networks at once, and keep the loss and the norm of the gradient of each."""
    seeds, steps = [trial.seed for trial in trials], trials[0]["steps"]
    adders = Adders(seeds, [trial["rate"] for trial in trials], [_clip(trial["clipping"]) for trial in trials])
    sources = {seed: batches(trials[0]["length"], seed) for seed in seeds}
    losses, norms = [], []
    for _ in range(steps):
        given = {seed: next(source) for seed, source in sources.items()}
        inputs, targets = (torch.stack([given[seed][part] for seed in seeds]) for part in (0, 1))
        loss, norm = adders.step(inputs, targets)
        losses.append(loss.double())
        norms.append(norm)
    by_network = zip(torch.stack(losses).T.tolist(), torch.stack(norms).T.tolist(), strict=True)
    return [told(loss, norm) for loss, norm in by_network]


def _clip(how: str) -> "partial[torch.Tensor] | partial[None] | None":
    if how == "norm":
        return partial(clip_grad_norm_, max_norm=MAX_NORM)
    return partial(clip_grad_value_, clip_value=MAX_VALUE) if how == "value" else None


def told(losses: Sequence[float], norms: Sequence[float]) -> Measurement:
    """Whether a run explodes, its loss at the end, the largest norm of its gradient, and curves."""
    final = float(np.mean(losses[-max(1, round(LAST * len(losses))) :]))
    exploded = not final <= AT_START
    steps = [float(step) for step in range(1, len(losses) + 1)]
    return Measurement(
        {
            "exploded": float(exploded),
            "final_loss": final,
            "largest_norm": float(np.nan_to_num(norms, nan=np.inf, posinf=np.inf).max()),
        },
        {"step": steps, "loss": list(losses), "norm": list(norms)},
    )


def shares(results: Results, clipping: str) -> NDArray[np.float64]:
    """For every seed the share of its runs, over the rates, that explode."""
    return np.array([group.values("exploded").mean() for group in results.where(clipping=clipping).by("seed").values()])


def verdict(results: Results) -> Verdict:
    """Half of the runs that explode without clipping beside those that explode with it."""
    plain = shares(results, "none")
    if not plain.any():
        raise NoResultsError("no run explodes without clipping, so that there is nothing to prevent: raise the rates")
    words = "share of runs, half of those that explode without clipping less those that do when clipped by"
    checks = [
        paired_check(PREDICTION, how, plain / 2, shares(results, how), f"{words} {how}") for how in ("norm", "value")
    ]
    counts = {how: int(group.values("exploded").sum()) for how, group in results.by("clipping").items()}
    kept = {how: _exploding_only(results, how) for how in ("norm", "value")}
    largest = {how: np.median(results.where(clipping=how).values("largest_norm")) for how in ("none", "norm")}
    return judge(
        checks,
        f"Of {len(results.where(clipping='none'))} runs {counts['none']} explode without clipping, {counts['norm']} "
        f"with the norm clipped ({kept['norm']} of them only then) and {counts['value']} with values clipped "
        f"({kept['value']} of them only then). What is bounded is the step, not the gradient: the largest norm of a "
        f"run before clipping is {largest['norm']:.2g} with the norm clipped (median) and {largest['none']:.2g} "
        "without clipping.",
    )


def _exploding_only(results: Results, clipping: str) -> int:
    """How many runs explode with this clipping, and do not without any."""
    clipped, plain = results.pairs("exploded", {"clipping": clipping}, {"clipping": "none"})
    return int(((clipped == 1) & (plain == 0)).sum())


def figure(results: Results) -> Figure:
    """The share of runs that explode by rate, and the gradients of one rate."""
    shares = tuple(
        Series(CLIPPINGS[how], RATES, tuple(float(g.values("exploded").mean()) for g in group.by("rate").values()))
        for how, group in results.by("clipping").items()
    )
    rate = RATES[2]
    norms = tuple(
        group.where(rate=rate).curve_line(CLIPPINGS[how], "step", "norm")
        for how, group in results.by("clipping").items()
    )
    return Figure(
        "The share of runs that explode at every learning rate; and the norm of the gradient, before it is clipped, at "
        f"the rate {rate}, medians and quartiles over seeds. Where a line is at the top, most runs have no finite "
        "gradient any more.",
        (
            Panel("Runs that explode", "learning rate", "share of runs", shares, log_x=True),
            Panel("Gradients before clipping", "step", "norm", norms, log_y=True, expected=((MAX_NORM, "clipped at"),)),
        ),
    )
