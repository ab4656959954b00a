"""One training run, and all of them: resumable, in processes of one thread each."""

import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from rich.progress import track
from torch.nn import functional as F

import evenflow as ef
from training.tasks import TASKS

BUDGET = 300
SMOOTHING = 0.9
SCHEMES = ("auto", "torch", "glorot_normal", "he_normal", "orthogonal", "lsuv")
RATES = (3e-4, 1e-3, 3e-3)
PILOT, SEEDS = 100, (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Key:
    """What a run is."""

    task: str
    scheme: str
    rate: float
    seed: int


def train(key: Key) -> tuple[int, float]:
    """Train by Adam until the smoothed loss is at the target; return the step (the budget if never) and that loss."""
    torch.set_num_threads(1)
    task = TASKS[key.task]
    torch.manual_seed(key.seed)
    model, batches = task.build(), task.batches(key.seed)
    first = next(batches)
    if key.scheme != "torch":
        ef.initialize_(model, first, scheme=key.scheme, seed=key.seed)
    optimizer = torch.optim.Adam(model.parameters(), key.rate)
    smoothed = None
    for step in range(1, BUDGET + 1):
        inputs, targets = next(batches)
        loss = F.cross_entropy(model(inputs), targets)
        if not loss.isfinite():
            return BUDGET, float("inf")
        smoothed = loss.item() if smoothed is None else SMOOTHING * smoothed + (1 - SMOOTHING) * loss.item()
        if smoothed < task.target:
            return step, smoothed
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return BUDGET, float(smoothed or 0.0)


class Store:
    """Results in a file of JSON lines, one a run, so that a stopped comparison goes on where it was."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[Key, tuple[int, float]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in path.read_text().splitlines() if path.exists() else ():
            told = json.loads(line)
            self.results[Key(**told["key"])] = (told["steps"], told["loss"])

    def run(self, keys: Iterable[Key], workers: int, what: str) -> None:
        """Carry out what has not been yet."""
        left = [key for key in keys if key not in self.results]
        with ProcessPoolExecutor(workers) as pool, self.path.open("a") as file:
            futures = {pool.submit(train, key): key for key in left}
            for future in track(as_completed(futures), what, total=len(left)):
                key, (steps, loss) = futures[future], future.result()
                self.results[key] = (steps, loss)
                file.write(json.dumps({"key": asdict(key), "steps": steps, "loss": loss}) + "\n")
                file.flush()

    def best_rate(self, task: str, scheme: str) -> float:
        """The learning rate with the fewest steps in the pilot, then the lowest loss."""
        return min(RATES, key=lambda rate: self.results[Key(task, scheme, rate, PILOT)])

    def steps(self, task: str, scheme: str) -> list[int]:
        """Steps of the paired seeds at the chosen rate."""
        rate = self.best_rate(task, scheme)
        return [self.results[Key(task, scheme, rate, seed)][0] for seed in SEEDS]
