"""A ResNet-18's training step on a CPU before and after `accelerate_`; run it as `python benchmarks/bench_surgery.py`.

The losses of both are printed first, for the same steps on the same data, and those of the model before with every
weight moved by one unit in its last place: training lets differences of rounding grow, and this is how much.
"""

import copy
from collections.abc import Callable

import torch
from interleave import compare
from torch import Tensor, nn
from torch.nn import functional

from evenflow import norm

STEPS = 8


class Block(nn.Module):
    """As in torchvision: one in-place ReLU for both places, `+=`, an optional shortcut."""

    def __init__(self, read: int, give: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(read, give, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(give)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(give, give, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(give)
        self.downsample = None
        if stride != 1 or read != give:
            self.downsample = nn.Sequential(nn.Conv2d(read, give, 1, stride, bias=False), nn.BatchNorm2d(give))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


def resnet18() -> nn.Sequential:
    widths = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    blocks = [Block(*size) for size in [*widths, (512, 512, 1)]]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


def stepper(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], float]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step() -> float:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def same_losses(title: str, before: nn.Module, after: nn.Module, x: Tensor, y: Tensor) -> None:
    moved = copy.deepcopy(before)
    with torch.no_grad():
        for parameter in moved.parameters():
            parameter.mul_(1 + torch.finfo(parameter.dtype).eps)
    steps = [stepper(copy.deepcopy(model), x, y) for model in (before, after, moved)]
    losses = [[step() for step in steps] for _ in range(STEPS)]
    print(f"{title}: losses of {STEPS} steps")
    for place, name in enumerate(("before", "after", "moved")):
        apart = max(abs(row[place] - row[0]) for row in losses)
        print(f"  {name:6} ", " ".join(f"{row[place]:.6f}" for row in losses), f"  apart by {apart:.1e} at most")


def race(title: str, x: Tensor, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    before = resnet18().to(memory_format=layout)
    x, y = x.contiguous(memory_format=layout), torch.randint(1000, (len(x),))
    after = copy.deepcopy(before)
    acceleration = norm.accelerate_(after, x)
    print(f"{title}: {len(acceleration.fused)} of {len(acceleration.fused) + len(acceleration.kept)} BatchNorms fused")
    same_losses(title, before, after, x, y)
    compare({"step before": stepper(before, x, y), "step after": stepper(after, x, y)}, rounds=7)
    with torch.no_grad():
        folded = copy.deepcopy(before).eval()
        norm.fold_(folded, x)
        before.eval(), after.eval()
        models = {"forward before": before, "forward after": after, "forward folded": folded}
        compare({name: lambda model=model: model(x) for name, model in models.items()}, rounds=7)


def main() -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 3, 96, 96)
    race("ResNet-18, 8 images of 3 x 96 x 96", images, torch.contiguous_format)
    race("the same, channels last", images, torch.channels_last)
    race("ResNet-18, 32 images of 3 x 160 x 160", torch.randn(32, 3, 160, 160), torch.contiguous_format)


if __name__ == "__main__":
    main()
