"""All runs: resumable, in processes of one thread each."""

import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from recurrent.networks import METHODS, Networks, Run
from recurrent.problems import PROBLEMS

SEEDS = tuple(range(10))
HALVES = (SEEDS[:5], SEEDS[5:])
LAST = 0.1


@dataclass(frozen=True)
class Result:
    """What became of one network.

    Attributes:
        problem: Name of the problem.
        method: How it was clipped.
        rate: Learning rate.
        seed: Seed of its start and of its batches.
        final: Mean loss over the last tenth of the steps; NaN where one was not finite.
        clipped: Share of the steps in which something was clipped.
        skipped: Steps that were skipped.
    """

    problem: str
    method: str
    rate: float
    seed: int
    final: float
    clipped: float
    skipped: int


def train(name: str, seeds: tuple[int, ...]) -> list[Result]:
    """Train every method at every rate from some seeds, all at once."""
    torch.set_num_threads(1)
    problem = PROBLEMS[name]
    runs = [Run(method, rate, seed) for seed in seeds for method in METHODS for rate in problem.rates]
    networks, sources = Networks(problem, runs), {seed: problem.batches(seed) for seed in seeds}
    losses = []
    for _ in range(problem.steps):
        batch = {seed: next(source) for seed, source in sources.items()}
        inputs, targets = (torch.stack([batch[run.seed][part] for run in runs]) for part in (0, 1))
        losses.append(networks.step(inputs, targets))
    final = torch.stack(losses[-int(LAST * problem.steps) :]).double().mean(0).tolist()
    return [
        Result(name, run.method, run.rate, run.seed, loss, clipper.fired / clipper.steps if clipper else 0.0,
               clipper.skipped if clipper else 0)
        for run, loss, clipper in zip(runs, final, networks.clippers, strict=True)
    ]  # fmt: skip


class Store:
    """Results in a file of JSON lines, so that a stopped comparison goes on where it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path.exists() else []
        self.results = [Result(**json.loads(line)) for line in lines]

    def run(self, workers: int) -> None:
        """Run what is missing."""
        known = {(result.problem, result.seed) for result in self.results}
        jobs = [(name, half) for name in PROBLEMS for half in HALVES if (name, half[0]) not in known]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        begin = time.time()
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for future in as_completed([pool.submit(train, *job) for job in jobs]):
                found = future.result()
                self.results += found
                with self.path.open("a") as file:
                    file.writelines(json.dumps(asdict(result)) + "\n" for result in found)
                print(f"{found[0].problem}, seeds from {found[0].seed}: after {time.time() - begin:.0f} s", flush=True)
