"""BatchNorm followed by ReLU, forward and backward, beside torch's; run it as `python benchmarks/bench_norm.py`."""

import torch
from interleave import compare
from torch import nn

from evenflow import norm

SHAPES = [(64, 64, 56, 56), (32, 256, 28, 28), (128, 512, 7, 7), (8192, 512)]


def race(shape: tuple[int, ...]) -> None:
    theirs, ours = (nn.BatchNorm1d, norm.BatchNorm1d) if len(shape) == 2 else (nn.BatchNorm2d, norm.BatchNorm2d)
    x = torch.randn(shape, requires_grad=True)
    gradient = torch.randn(shape)
    pairs = {
        "torch": nn.Sequential(theirs(shape[1]), nn.ReLU()),
        "evenflow": ours(shape[1], activation="relu"),
    }
    print(f"BatchNorm and ReLU, {shape}")
    compare(
        {name: lambda layer=layer: torch.autograd.grad(layer(x), x, gradient) for name, layer in pairs.items()},
        rounds=7,
    )


def main() -> None:
    for shape in SHAPES:
        race(shape)


if __name__ == "__main__":
    main()
