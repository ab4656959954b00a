"""Draws and initialisers beside torch's; run it as `python benchmarks/bench_init.py`."""

import statistics
import subprocess
import sys

import torch
from interleave import compare
from torch import nn

from evenflow import init, initialize_

FIRST_CALL = """
import sys, time, torch, evenflow as ef
from torch import nn
model = nn.Sequential(*[part for _ in range(10) for part in (nn.Linear(256, 256), nn.ReLU())])
initialize_ = ef.initialize_
start = time.perf_counter()
{call}
seconds = time.perf_counter() - start
assert "numba" not in sys.modules
print(seconds)
"""


def race(name: str, tensor: torch.Tensor, rounds: int = 15) -> None:
    """Time torch's initialiser, ours, and torch's `fill_`, which is what writing alone takes."""
    theirs, ours = getattr(nn.init, name), getattr(init, name)
    print(f"{name}, {' x '.join(f'{size:,}' for size in tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}")
    compare(
        {"torch": lambda: theirs(tensor), "evenflow": lambda: ours(tensor), "fill_": lambda: tensor.fill_(1.0)}, rounds
    )


def first_calls(rounds: int = 5) -> None:
    """Time ten small layers in a fresh process, where a compiler would show."""
    print("ten layers of 256 x 256, first call in a fresh process")
    for name, call in (
        ("torch", "for layer in model[::2]: layer.reset_parameters()"),
        ("evenflow", "initialize_(model, scheme='he_uniform')"),
        ("evenflow, auto", "initialize_(model)"),
    ):
        runs = [
            float(subprocess.check_output([sys.executable, "-c", FIRST_CALL.format(call=call)])) for _ in range(rounds)
        ]
        print(f"  {name:14}  {statistics.median(runs) * 1e3:9.3f} ms")


def whole_model(rounds: int = 5) -> None:
    """GPT-2 of 124 million parameters beside its own initialiser."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config())

    def theirs() -> None:
        for part in (*model.modules(), *model.parameters(), *model.buffers()):
            part._is_hf_initialized = False  # or nothing would be drawn a second time
        model.apply(model._init_weights)

    print(f"GPT-2, {sum(p.numel() for p in model.parameters()):,} parameters, as a whole")
    compare({"its own": theirs, "evenflow": lambda: initialize_(model)}, rounds)


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    large, small = torch.zeros(50_000_000), torch.zeros(65_536)
    for name in ("uniform_", "normal_"):
        race(name, large)
        race(name, large[::2])
        race(name, small, rounds=101)
    race("normal_", large.to(torch.bfloat16))
    race("trunc_normal_", large, rounds=5)
    first_calls()
    whole_model()


if __name__ == "__main__":
    main()
