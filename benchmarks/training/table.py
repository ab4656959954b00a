"""The table of a comparison, with intervals."""

import math
from collections.abc import Sequence

import numpy as np

from training.runs import BUDGET, SCHEMES, SEEDS, Store

RESAMPLES = 5000


def ratios(store: Store, tasks: Sequence[str], scheme: str) -> np.ndarray:
    """Logarithms of steps over those of "auto", paired by seed: (tasks, seeds)."""
    pairs = [(store.steps(task, scheme), store.steps(task, "auto")) for task in tasks]
    return np.array([np.log(np.array(theirs) / np.array(ours)) for theirs, ours in pairs])


def interval(logs: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Geometric mean, and a 95 % interval by resampling tasks and, within each, seeds."""
    drawn = np.random.default_rng(seed)
    tasks, seeds = logs.shape
    means = [
        logs[drawn.integers(tasks, size=tasks)[:, None], drawn.integers(seeds, size=(tasks, seeds))].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(means, (0.025, 0.975))
    return math.exp(logs.mean()), math.exp(low), math.exp(high)


def table(store: Store, tasks: Sequence[str]) -> list[str]:
    """The lines of the table, and what follows from it."""
    others = [scheme for scheme in SCHEMES if scheme != "auto"]
    lines = ["| network | " + " | ".join(SCHEMES) + " | auto / best |", "|---|" + "---|" * (len(SCHEMES) + 1)]
    worst = (0.0, "")
    for task in tasks:
        means = {scheme: _mean(store.steps(task, scheme)) for scheme in SCHEMES}
        factor = means["auto"] / min(means.values())
        worst = max(worst, (factor, task))
        cells = [_cell(means[scheme], store.steps(task, scheme), min(means.values())) for scheme in SCHEMES]
        lines.append(f"| {task} | " + " | ".join(cells) + f" | {factor:.2f} |")
    lines += [
        "",
        "| scheme | steps over those of auto, geometric mean (95 % interval) | runs that never arrived |",
        "|---|---|---|",
    ]
    for scheme in others:
        centre, low, high = interval(ratios(store, tasks, scheme))
        lines.append(f"| {scheme} | {centre:.2f} ({low:.2f} to {high:.2f}) | {_missed(store, tasks, scheme)} |")
    lines.append(f"| auto | 1 | {_missed(store, tasks, 'auto')} |")
    return [*lines, "", f"At worst auto takes {worst[0]:.2f} times the steps of the best scheme, on {worst[1]}."]


def _mean(steps: Sequence[int]) -> float:
    return math.exp(np.log(steps).mean())


def _cell(mean: float, steps: Sequence[int], best: float) -> str:
    missed = sum(step >= BUDGET for step in steps)
    text = f"{mean:.0f}" if missed < len(SEEDS) else "never"
    text = f"**{text}**" if mean == best else text
    return f"{text} ({missed} of {len(SEEDS)} never)" if 0 < missed < len(SEEDS) else text


def _missed(store: Store, tasks: Sequence[str], scheme: str) -> int:
    return sum(step >= BUDGET for task in tasks for step in store.steps(task, scheme))
