"""Draws and initialisers beside torch's; run it as `python benchmarks/bench_init.py`."""

import torch
from interleave import compare
from torch import nn

from evenflow import init

ELEMENTS = 10_000_000


def race(name: str, tensor: torch.Tensor) -> None:
    theirs, ours = getattr(nn.init, name), getattr(init, name)
    print(f"{name}, {' x '.join(map(str, tensor.shape))} float32")
    compare({"torch": lambda: theirs(tensor), "evenflow": lambda: ours(tensor)}, rounds=5)


def main() -> None:
    large = torch.empty(ELEMENTS)
    for name in ("uniform_", "normal_", "trunc_normal_"):
        race(name, large)
    race("orthogonal_", torch.empty(1024, 1024))
    race("kaiming_normal_", torch.empty(64, 64))


if __name__ == "__main__":
    main()
