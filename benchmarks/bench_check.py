"""`ef.check` beside one plain forward and backward pass; run it as `python benchmarks/bench_check.py`."""

from itertools import pairwise

import torch
from interleave import compare
from torch import Tensor, nn
from torch.nn import functional

import evenflow as ef


class Block(nn.Module):
    def __init__(self, read: int, give: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(read, give, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(give)
        self.conv2 = nn.Conv2d(give, give, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(give)
        shortcut = nn.Sequential(nn.Conv2d(read, give, 1, stride, bias=False), nn.BatchNorm2d(give))
        self.shortcut = nn.Identity() if read == give else shortcut

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


def resnet18() -> nn.Module:
    widths = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    blocks = [Block(a, b, 1 if a == b else 2) for a, b in pairwise(widths)]
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class Decoder(nn.Module):
    """The shape of GPT-2 small with four of its twelve layers."""

    def __init__(self, vocabulary: int = 50257, width: int = 768, layers: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        layer = nn.TransformerEncoderLayer(width, 12, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.tokens(x)) @ self.tokens.weight.T


def race(title: str, model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    parameters = list(model.parameters())

    def plain() -> None:
        output = model(inputs)
        loss = functional.cross_entropy(output.flatten(0, -2), targets.flatten())
        torch.autograd.grad(loss, parameters)

    print(title)
    compare({"one forward and backward": plain, "ef.check": lambda: ef.check(model, (inputs, targets))}, rounds=7)


def main() -> None:
    torch.manual_seed(0)
    race("ResNet-18, 8 images of 3 x 128 x 128", resnet18(), torch.randn(8, 3, 128, 128), torch.randint(1000, (8,)))
    tokens = torch.randint(50257, (2, 128))
    race("GPT-2 small, 4 layers, 2 texts of 128 tokens", Decoder(), tokens, tokens)


if __name__ == "__main__":
    main()
