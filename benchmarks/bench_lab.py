"""Replicas trained together beside one by one; run it as `python benchmarks/bench_lab.py`."""

import torch
from interleave import compare

from evenflow.lab.training import Recipe, initialise_, load_split, mlp, train, train_together

REPLICAS, WIDTH, STEPS = 8, 100, 300


def race(data: str, optimiser: str, batch: int, threads: int, replicas: int = REPLICAS) -> None:
    torch.set_num_threads(threads)
    split, seeds = load_split(data), range(replicas)
    recipe = Recipe(rate=0.01, steps=STEPS, batch=batch, optimiser=optimiser)
    sizes = [split.inputs.shape[1], WIDTH, WIDTH, WIDTH, 10]

    def models() -> list[torch.nn.Sequential]:
        return [initialise_(mlp(sizes, "sigmoid"), "glorot_normal", seed) for seed in seeds]

    print(f"{replicas} replicas of 3x{WIDTH} on {data}, batch {batch}, {optimiser}, {threads} thread(s)")
    compare(
        {
            "one by one": lambda: [train(m, split, recipe, s) for m, s in zip(models(), seeds, strict=True)],
            "together": lambda: train_together(models(), split, recipe, seeds),
        },
        rounds=7,
    )


def main() -> None:
    for threads in (1, 2):
        race("digits", "sgd", 60, threads)
        race("digits", "adam", 60, threads)
        race("digits", "adam", 10, threads)
        race("mnist", "sgd", 60, threads)
    race("digits", "adam", 60, 1, replicas=32)


if __name__ == "__main__":
    main()
