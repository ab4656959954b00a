"""Steps to a fixed training loss by initialisation scheme; run it as `python benchmarks/train_schemes.py`.

The result is written to docs/schemes.md. A run that was stopped goes on from build/train_schemes.jsonl.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import torch
from training.runs import BUDGET, PILOT, RATES, SCHEMES, SEEDS, Key, Store
from training.table import table
from training.tasks import BATCH, SHARE, TASKS, TEXT

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "train_schemes.jsonl")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "schemes.md")
    chosen = parser.parse_args()
    store, workers, begin = Store(chosen.store), os.cpu_count() or 1, time.time()
    known = len(store.results)
    pilots = [Key(t, s, rate, PILOT) for t in chosen.tasks for s in SCHEMES for rate in RATES]
    store.run(pilots, workers, "choosing learning rates")
    runs = [Key(t, s, store.best_rate(t, s), seed) for t in chosen.tasks for s in SCHEMES for seed in SEEDS]
    store.run(runs, workers, "comparing")
    minutes = (time.time() - begin) / 60
    lines = table(store, chosen.tasks)
    print("\n".join(lines))
    if list(chosen.tasks) == list(TASKS):
        chosen.output.write_text("\n".join([*introduction(minutes, workers, resumed=known > 0), *lines]) + "\n")


def introduction(minutes: float, workers: int, *, resumed: bool) -> list[str]:
    took = f"{minutes:.0f} minutes on {workers} cores" + (", resumed" if resumed else "")
    return [
        "# Schemes compared by training",
        "",
        "Made by `python benchmarks/train_schemes.py`"
        f" in {took}; Python {platform.python_version()}, torch {torch.__version__}.",
        "",
        "Each number is the geometric mean over five seeds of the steps that Adam takes until the training loss,"
        f" smoothed over ten batches, is {SHARE:g} of that of a guess (for text: {TEXT:g} nats). The seeds are paired:"
        f" every scheme sees the same batches of {BATCH} digits (or 16 pieces of 32 letters). The learning rate is the"
        f" best of {', '.join(f'{rate:g}' for rate in RATES)} for each network and scheme, chosen by one further seed."
        f" A run that has not arrived after {BUDGET} steps counts as {BUDGET}. Targets, rates and budget were fixed"
        " before the run.",
        "",
    ]


if __name__ == "__main__":
    main()
