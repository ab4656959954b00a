"""Survival and loss of recurrent networks by clipper; run it as `python benchmarks/train_clipping.py`.

The result is written to docs/recurrent.md. A comparison that was stopped goes on from build/train_clipping.jsonl.
"""

import argparse
import os
import platform
import time
from pathlib import Path

import torch
from recurrent.problems import BATCH
from recurrent.runs import SEEDS, Store
from recurrent.table import TWICE, tables

ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=ROOT / "build" / "train_clipping.jsonl")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "recurrent.md")
    chosen = parser.parse_args()
    store, workers, begin = Store(chosen.store), os.cpu_count() or 1, time.time()
    resumed = bool(store.results)
    store.run(workers)
    lines = [*introduction((time.time() - begin) / 60, workers, resumed=resumed), *tables(store.results)]
    print("\n".join(lines))
    chosen.output.write_text("\n".join(lines) + "\n")


def introduction(minutes: float, workers: int, *, resumed: bool) -> list[str]:
    took = f"{minutes:.0f} minutes on {workers} cores" + (", resumed" if resumed else "")
    return [
        "# Recurrent networks by clipper",
        "",
        "Made by `python benchmarks/train_clipping.py`"
        f" in {took}; Python {platform.python_version()}, torch {torch.__version__}.",
        "",
        "The statement to test: gradient clipping prevents exploding gradients. Vanilla recurrent networks of 32 units"
        " learn by plain gradient descent to add the two marked numbers of a long sequence (ReLU units whose recurrent"
        " weights begin as the identity, Le et al. 2015), or to predict the next letter of English text (tanh units,"
        f" orthogonal). {len(SEEDS)} seeds; seeds are paired: every clipper and rate sees the same start and the same"
        f" batches of {BATCH} sequences.",
        "",
        f"A run survives when its loss, averaged over the last tenth of the steps, is finite and at most {TWICE:g}"
        " times that of a guess. A cell holds how many of ten survived, and the median of their losses. Differences are"
        " to the same seeds without clipping: of the share that survived, over the rates at which some did not; and of"
        " the loss in units of a guess's, over all rates, where a run that ended worse than a guess counts as a guess."
        " Intervals resample the seeds. The rule, fixed before the run: supported where the interval of survival is"
        " above zero, refuted where it is not above zero anywhere, inconclusive otherwise.",
        "",
    ]


if __name__ == "__main__":
    main()
