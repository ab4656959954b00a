"""Gradient clipping beside torch's; run it as `python benchmarks/bench_clip.py`."""

from collections.abc import Iterator
from itertools import count, repeat

import torch
from interleave import compare
from torch import nn

import evenflow as ef


def parameters(tensors: int, size: int) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(size)) for _ in range(tensors)]
    for parameter in made:
        parameter.grad = torch.randn(size)
    return made


def race(title: str, ps: list[nn.Parameter], limits: Iterator[float]) -> None:
    print(title)
    compare(
        {
            "torch": lambda: nn.utils.clip_grad_norm_(ps, next(limits)),
            "evenflow": lambda: ef.clip.clip_grad_norm_(ps, next(limits)),
            "evenflow, foreach": lambda: ef.clip.clip_grad_norm_(ps, next(limits), foreach=True),
        }
    )


def race_by_value(title: str, ps: list[nn.Parameter], clip_value: float) -> None:
    print(title)
    compare(
        {
            "torch": lambda: nn.utils.clip_grad_value_(ps, clip_value),
            "evenflow": lambda: ef.clip.clip_grad_value_(ps, clip_value),
        }
    )


def main() -> None:
    large, small = parameters(50, 1_000_000), parameters(2_000, 512)
    race("by norm, 50 x 1,000,000, nothing to clip", large, repeat(1e9))
    race("by norm, 2,000 x 512, nothing to clip", small, repeat(1e9))
    race_by_value("by value, 50 x 1,000,000, nothing to clip", large, 1e9)
    # Each call has to clip what the one before left.
    race("by norm, 50 x 1,000,000, clipped", large, (0.5**halvings for halvings in count()))


if __name__ == "__main__":
    main()
