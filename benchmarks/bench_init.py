"""Draws and initialisers beside torch's; run it as `python benchmarks/bench_init.py`."""

import statistics
import subprocess
import sys

import torch
from interleave import compare
from torch import nn

from evenflow import init

FIRST_CALL = """
import sys, time, torch, evenflow as ef
from torch import nn
layers = [nn.Linear(256, 256) for _ in range(10)]
he = ef.init.kaiming_uniform_
start = time.perf_counter()
for layer in layers:
    {call}
seconds = time.perf_counter() - start
assert "numba" not in sys.modules
print(seconds)
"""


def race(name: str, tensor: torch.Tensor, rounds: int = 7) -> None:
    theirs, ours = getattr(nn.init, name), getattr(init, name)
    print(f"{name}, {' x '.join(f'{size:,}' for size in tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}")
    compare({"torch": lambda: theirs(tensor), "evenflow": lambda: ours(tensor)}, rounds)


def race_with_memory(tensor: torch.Tensor) -> None:
    print(f"fill_, {tensor.numel():,} float32: what writing alone takes")
    compare({"torch": lambda: tensor.fill_(1.0)}, rounds=7)


def first_calls(rounds: int = 5) -> None:
    """Time ten small layers in a fresh process, where a compiler would show."""
    print("ten layers of 256 x 256, first call in a fresh process")
    for name, call in (
        ("torch", "layer.reset_parameters()"),
        ("evenflow", "he(layer.weight); ef.init.zeros_(layer.bias)"),
    ):
        runs = [
            float(subprocess.check_output([sys.executable, "-c", FIRST_CALL.format(call=call)])) for _ in range(rounds)
        ]
        print(f"  {name:8}  {statistics.median(runs) * 1e3:9.3f} ms")


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    large, small = torch.zeros(50_000_000), torch.zeros(65_536)
    race_with_memory(large)
    for name in ("uniform_", "normal_"):
        race(name, large)
        race(name, large[::2])
        race(name, small, rounds=101)
    race("normal_", large.to(torch.bfloat16))
    race("trunc_normal_", large[:5_000_000], rounds=5)
    first_calls()


if __name__ == "__main__":
    main()
