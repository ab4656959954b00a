"""Orthogonal matrices beside torch's; run it as `python benchmarks/bench_orthogonal.py`."""

import math

import torch
from interleave import compare
from torch import nn

from evenflow import init

# Shape, number of blocks, rounds.
CASES = (
    ((64, 64), 1, 201),
    ((2048, 2048), 1, 7),
    ((4096, 1024), 1, 7),
    ((512, 512, 3, 3), 1, 11),
    ((4 * 512, 512), 4, 21),
    ((64 * 16, 16), 64, 51),
)


def race(shape: tuple[int, ...], blocks: int, rounds: int) -> None:
    weight = torch.zeros(shape)
    print(f"orthogonal_, {' x '.join(f'{size:,}' for size in shape)}" + f", {blocks} blocks" * (blocks > 1))
    compare(
        {
            "torch": lambda: [nn.init.orthogonal_(block) for block in weight.chunk(blocks)],
            "evenflow": lambda: init.orthogonal_(weight, blocks=blocks),
            "its draws": lambda: init.normal_(weight),
        },
        rounds,
    )


def show_error(shape: tuple[int, ...]) -> None:
    """Print how far the products of rows or columns are from 1 and 0, of torch's and of ours."""
    for name, fill in (("torch", nn.init.orthogonal_), ("evenflow", init.orthogonal_)):
        matrix = fill(torch.zeros(shape)).flatten(1).double()
        matrix = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT
        error = (matrix @ matrix.mT - torch.eye(len(matrix))).abs().max().item()
        print(f"  {name:9}  largest error {error:.1e} = 2^{math.log2(error):.1f}")


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    for shape, blocks, rounds in CASES:
        race(shape, blocks, rounds)
        if blocks == 1:
            show_error(shape)


if __name__ == "__main__":
    main()
