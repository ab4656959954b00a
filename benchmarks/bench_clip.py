"""Gradient clipping beside torch's; run it as `python benchmarks/bench_clip.py`.

The first call, before the clock starts, loads the compiled loop.
"""

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
            "torch, foreach=True": lambda: nn.utils.clip_grad_norm_(ps, next(limits), foreach=True),
            "torch, foreach=False": lambda: nn.utils.clip_grad_norm_(ps, next(limits), foreach=False),
            "evenflow": lambda: ef.clip.clip_grad_norm_(ps, next(limits)),
            "evenflow, foreach=True": lambda: ef.clip.clip_grad_norm_(ps, next(limits), foreach=True),
            "evenflow, foreach=False": lambda: ef.clip.clip_grad_norm_(ps, next(limits), foreach=False),
        }
    )


def race_with_report(title: str, ps: list[nn.Parameter]) -> None:
    print(title)
    clipper = ef.clip.NormClipper(ps, 1e9)
    compare({"torch": lambda: nn.utils.clip_grad_norm_(ps, 1e9), "evenflow, NormClipper": clipper.step})


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
    race_with_report("with a report, 50 x 1,000,000, nothing to clip", large)
    race_with_report("with a report, 2,000 x 512, nothing to clip", small)
    race_by_value("by value, 50 x 1,000,000, nothing to clip", large, 1e9)
    # Each call has to clip what the one before left.
    race("by norm, 50 x 1,000,000, clipped", large, (0.5**halvings for halvings in count()))
    race("by norm, 2,000 x 512, clipped", small, (0.5**halvings for halvings in count()))


if __name__ == "__main__":
    main()
