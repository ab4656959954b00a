"""BatchNorm and its activation, forward and backward, beside torch's; run it as `python benchmarks/bench_norm.py`.

Peers are the pair of layers, eager and compiled, in turn with ours. Bytes for each element are what would have moved at
the speed of a copy of the same tensor; 32 is what the two passes each way must move, 20 when a channel stays in the
cache between them.
"""

import math
import subprocess
import sys

import torch
from interleave import compare
from torch import Tensor, nn

from evenflow import norm

LARGE = [(64, 64, 56, 56), (32, 256, 28, 28), (128, 512, 7, 7), (8192, 512)]
SMALL = [(16, 64, 8, 8), (64, 1024), (256, 512, 2, 2), (32, 3, 64, 64)]
PLAIN = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}

MEMORY = """
import torch
from torch import nn
from evenflow import norm

def highest():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

layer = {layer}
layer(torch.randn(64, 64, 16, 16, requires_grad=True) * 1.0).sum().backward()
x = torch.randn(64, 64, 56, 56, requires_grad=True)
gradient = torch.randn(64, 64, 56, 56)
before = highest()
layer(x * 1.0).backward(gradient)
print((highest() - before) / (x.numel() * 4))
"""


def pair(channels: int, dims: int, activation: str) -> dict[str, nn.Module]:
    theirs, ours = (nn.BatchNorm1d, norm.BatchNorm1d) if dims == 2 else (nn.BatchNorm2d, norm.BatchNorm2d)
    peer = nn.Sequential(theirs(channels), PLAIN[activation]())
    return {"torch": peer, "compiled": torch.compile(peer), "evenflow": ours(channels, activation=activation)}


def race(
    shape: tuple[int, ...], label: str = "", activation: str = "relu", dtype: torch.dtype = torch.float32,
    layout: torch.memory_format = torch.contiguous_format, rounds: int = 15,
) -> dict[str, float]:  # fmt: skip
    """Time a forward and a backward pass of each, and print how fast a copy is."""
    x = torch.randn(shape).to(dtype).to(memory_format=layout).requires_grad_()
    gradient = torch.randn(shape).to(dtype).to(memory_format=layout)

    def step(layer: nn.Module) -> tuple[Tensor, ...]:
        return torch.autograd.grad(layer(x), (x, *layer.parameters()), gradient)

    torch._dynamo.reset()
    print(f"BatchNorm and {activation}, {shape} {label}")
    layers = pair(shape[1], len(shape), activation)
    target = torch.empty_like(x, requires_grad=False)
    calls = {name: lambda layer=layer: step(layer) for name, layer in layers.items()}
    medians = compare(calls | {"a copy": lambda: target.copy_(x.detach())}, rounds)
    moved = 2 * x.element_size()
    print("  bytes an element: " + ", ".join(
        f"{name} {median / medians['a copy'] * moved:.0f}" for name, median in medians.items()
    ))  # fmt: skip
    return medians


def race_eval(shape: tuple[int, ...], rounds: int = 9) -> None:
    x = torch.randn(shape)
    print(f"the same in eval mode without gradients, {shape}")
    layers = {name: layer.eval() for name, layer in pair(shape[1], len(shape), "relu").items()}
    with torch.no_grad():
        compare({name: lambda layer=layer: layer(x) for name, layer in layers.items()}, rounds)


def kept_for_backward(layer: nn.Module, x: Tensor) -> tuple[int, int]:
    """Count the bytes that a forward pass keeps, each storage once: all, and those beside the output."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = layer(x)
    everything = sum(kept.values())
    return everything, everything - kept.get(y.untyped_storage().data_ptr(), 0)


def memory() -> None:
    """Print memory in sizes of the input. The output is kept by the next layer in any case."""
    x = torch.randn(64, 64, 56, 56, requires_grad=True)
    size = x.numel() * x.element_size()
    print("memory, in sizes of the input: kept for the backward pass, of it beside the output, highest of a step")
    for name, text in (
        ("torch", "nn.Sequential(nn.BatchNorm2d(64), nn.ReLU())"),
        ("torch, in place", "nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True))"),
        ("evenflow", "norm.BatchNorm2d(64, activation='relu')"),
        ("evenflow, in place", "norm.BatchNorm2d(64, activation='leaky_relu', inplace=True)"),
    ):
        everything, apart = kept_for_backward(eval(text, {"nn": nn, "norm": norm}), x * 1.0)
        peak = float(subprocess.check_output([sys.executable, "-c", MEMORY.format(layer=text)]))
        print(f"  {name:20} {everything / size:5.2f} {apart / size:5.2f} {peak:5.2f}")


def mean_ratio(results: list[dict[str, float]], peer: str) -> float:
    return math.exp(sum(math.log(result[peer] / result["evenflow"]) for result in results) / len(results))


def main() -> None:
    print(f"{torch.get_num_threads()} threads")
    results = [race(shape) for shape in LARGE]
    print(
        f"geometric means: {mean_ratio(results, 'torch'):.2f}x eager, {mean_ratio(results, 'compiled'):.2f}x compiled"
    )
    for shape in LARGE[:3]:
        race(shape, "channels_last", layout=torch.channels_last)
    for shape in LARGE:
        race(shape, "bfloat16", dtype=torch.bfloat16)
    for activation in ("leaky_relu", "silu", "gelu", "tanh"):
        race(LARGE[1], activation=activation)
    for shape in SMALL:
        race(shape, "small", rounds=101)
    for shape in LARGE:
        race_eval(shape)
    memory()


if __name__ == "__main__":
    main()
