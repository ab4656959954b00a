"""The tables of the comparison, with intervals."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recurrent.networks import METHODS
from recurrent.problems import PROBLEMS, Problem
from recurrent.runs import SEEDS, Result

RESAMPLES = 5000
TWICE = 2.0
NOTHING = "\N{EN DASH}"

Grid = NDArray[np.float64]


def finals(results: Sequence[Result], problem: Problem, method: str) -> Grid:
    """Final losses by seed and rate."""
    known = {(r.seed, r.rate): r.final for r in results if r.problem == problem.name and r.method == method}
    return np.array([[known[seed, rate] for rate in problem.rates] for seed in SEEDS])


def survived(final: Grid, problem: Problem) -> NDArray[np.bool_]:
    """Which runs ended with a loss that is finite and at most twice that of a guess."""
    return np.isfinite(final) & (np.nan_to_num(final, nan=math.inf) <= TWICE * problem.guess)


def capped(final: Grid, problem: Problem) -> Grid:
    """Final losses in units of that of a guess, which is what a run that ended worse is worth."""
    return np.minimum(np.nan_to_num(final, nan=math.inf), problem.guess) / problem.guess


def interval(by_seed: Grid, draw: int = 0) -> tuple[float, float, float]:
    """Mean over seeds, and a 95 % interval by resampling them."""
    drawn = np.random.default_rng(draw)
    means = by_seed[drawn.integers(len(by_seed), size=(RESAMPLES, len(by_seed)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(by_seed.mean()), float(low), float(high)


def verdict(low: float, high: float) -> str:
    """Say what an interval of the difference in survival says of "clipping prevents exploding gradients"."""
    if low > 0:
        return "supported"
    return "refuted" if high <= 0 else "inconclusive"


def tables(results: Sequence[Result]) -> list[str]:
    """All tables."""
    lines = []
    for problem in PROBLEMS.values():
        lines += [*_runs(results, problem), ""]
    return [*lines, *_effects(results)]


def _runs(results: Sequence[Result], problem: Problem) -> list[str]:
    lines = [
        f"### {problem.name.capitalize()}",
        "",
        f"{problem.steps} steps; a guess has {problem.guess:.3g}.",
        "",
        "| clipping | " + " | ".join(f"rate {rate:g}" for rate in problem.rates) + " | steps clipped |",
        "|---|" + "---|" * (len(problem.rates) + 1),
    ]
    for method in METHODS:
        final = finals(results, problem, method)
        alive = survived(final, problem)
        cells = [_cell(final[:, i], alive[:, i]) for i in range(len(problem.rates))]
        mine = [r for r in results if r.problem == problem.name and r.method == method]
        share = f"{100 * np.mean([r.clipped for r in mine]):.0f} %" if METHODS[method] else NOTHING
        lines.append(f"| {method} | {' | '.join(cells)} | {share} |")
    return lines


def _cell(final: Grid, alive: NDArray[np.bool_]) -> str:
    if not alive.any():
        return f"0 of {len(SEEDS)}"
    return f"{int(alive.sum())} of {len(SEEDS)}, {np.median(final[alive]):.3g}"


def _effects(results: Sequence[Result]) -> list[str]:
    lines = [
        "### Against none",
        "",
        "| problem | clipping | survival, difference (95 % interval) | loss / guess, difference (95 % interval) "
        "| verdict |",
        "|---|---|---|---|---|",
    ]
    for problem in PROBLEMS.values():
        none = finals(results, problem, "none")
        exploding = ~survived(none, problem).all(0)
        for method in METHODS:
            if METHODS[method] is None:
                continue
            final = finals(results, problem, method)
            gain = survived(final, problem).astype(float) - survived(none, problem)
            loss = interval((capped(final, problem) - capped(none, problem)).mean(1))
            loss_text = f"{loss[0]:+.2f} ({loss[1]:+.2f} to {loss[2]:+.2f})"
            if not exploding.any():
                lines.append(
                    f"| {problem.name} | {method} | every run without clipping survived | {loss_text} | {NOTHING} |"
                )
                continue
            mean, low, high = interval(gain[:, exploding].mean(1))
            text = f"{100 * mean:+.0f} % ({100 * low:+.0f} to {100 * high:+.0f})"
            lines.append(f"| {problem.name} | {method} | {text} | {loss_text} | {verdict(low, high)} |")
    return lines
