"""Networks whose state of health is known: healthy families, and sick ones with the fault that was put into them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evenflow.data import digits, digits_batch

Build = Callable[[], nn.Module]


def digit_vectors():
    return digits_batch(256)


def digit_images():
    return digits_batch(256, images=True)


def digit_rows():
    inputs, targets = digits_batch(256)
    return inputs.reshape(-1, 8, 8), targets


def tokens():
    drawn = torch.randint(0, 50, (16, 33), generator=torch.Generator().manual_seed(0))
    return drawn[:, :-1], drawn[:, 1:]


def regression():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 20, generator=generator)
    return inputs, torch.sin(inputs[:, :1]) + 0.1 * torch.randn(256, 1, generator=generator)


def he_(weight: Tensor):
    return nn.init.kaiming_normal_(weight)


glorot_ = nn.init.xavier_normal_


def mlp(depth, activation=nn.ReLU, width=64, weight_=None, bias_=nn.init.zeros_, features=64, outputs=10):
    """`depth` linear layers with an activation between them; torch's own initialisation when none is given."""
    widths = [features, *[width] * (depth - 1), outputs]
    layers = []
    for place in range(depth):
        layers += [nn.Linear(widths[place], widths[place + 1]), activation()]
    model = nn.Sequential(*layers[:-1])
    if weight_ is not None:
        for layer in linears(model):
            weight_(layer.weight)
            bias_(layer.bias)
    return model


def linears(model):
    return [module for module in model.modules() if isinstance(module, nn.Linear)]


class Block(nn.Module):
    def __init__(self, inside, outside, stride, zero_gamma=False):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.around = nn.Sequential()
        if inside != outside:
            self.around = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))
        if zero_gamma:
            nn.init.zeros_(self.norm2.weight)

    def forward(self, x):
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.around(x))


class ResNet(nn.Module):
    def __init__(self, zero_gamma=False):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        shapes = [(16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2)]
        self.blocks = nn.Sequential(*(Block(*shape, zero_gamma) for shape in shapes))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


class PreNormTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Linear(8, 32), nn.Parameter(0.02 * torch.randn(8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.1, F.gelu, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, norm=nn.LayerNorm(32), enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        return self.head(self.encoder(self.embed(x) + self.place).mean(1))


class DecoderBlock(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        query, key, value = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.proj(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    """A GPT-2 in small, with its initialisation: std 0.02, residual projections by 1/sqrt(2 layers), tied head."""

    def __init__(self, width=64, layers=4):
        super().__init__()
        self.token, self.place = nn.Embedding(50, width), nn.Embedding(32, width)
        self.blocks = nn.Sequential(*(DecoderBlock(width, 4) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 50, bias=False)
        self.head.weight = self.token.weight
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                residual = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if residual else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, x):
        return self.head(self.norm(self.blocks(self.token(x) + self.place.weight[: x.shape[1]])))


class Recurrent(nn.Module):
    def __init__(self, kind=nn.LSTM, width=32):
        super().__init__()
        self.rnn, self.head = kind(8, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def with_zero_head(model):
    nn.init.zeros_(model[-1].weight)
    return model


def trained(model, steps=100):
    """Train by SGD with momentum on the digits, in their fixed order."""
    data = digits()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    batches = list(zip(data.inputs.split(64), data.targets.split(64), strict=True))
    for step in range(steps):
        inputs, targets = batches[step % len(batches)]
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model


@dataclass(frozen=True)
class Healthy:
    """A family of healthy networks, one for each seed of torch.

    `repeats` is the number of seeds that the test suite draws.
    """

    build: Build
    batch: Callable[[], tuple[Tensor, Tensor]] = field(default=digit_vectors)
    repeats: int = 20


HEALTHY = {
    "he-relu-10": Healthy(lambda: mlp(10, nn.ReLU, weight_=he_)),
    "glorot-tanh-10": Healthy(lambda: mlp(10, nn.Tanh, weight_=glorot_)),
    "resnet": Healthy(ResNet, digit_images),
    "pre-norm-transformer": Healthy(PreNormTransformer, digit_rows),
    "torch-cnn": Healthy(small_cnn, digit_images),
    "torch-mlp-3": Healthy(lambda: mlp(3)),
    "he-relu-50": Healthy(lambda: mlp(50, nn.ReLU, 256, he_), repeats=5),
    "he-gelu-10": Healthy(lambda: mlp(10, nn.GELU, weight_=he_)),
    "lstm": Healthy(Recurrent, digit_rows),
    "decoder": Healthy(Decoder, tokens),
    "zero-gamma-resnet": Healthy(lambda: ResNet(zero_gamma=True), digit_images),
    "zero-head": Healthy(lambda: with_zero_head(mlp(10, nn.ReLU, weight_=he_))),
    "trained-relu": Healthy(lambda: trained(mlp(10, nn.ReLU, weight_=he_)), repeats=5),
    "trained-tanh": Healthy(lambda: trained(mlp(10, nn.Tanh, weight_=glorot_)), repeats=5),
    "regression": Healthy(lambda: mlp(4, nn.ReLU, weight_=he_, features=20, outputs=1), regression),
}


def scaled(model, place, factor):
    """Multiply the weights of the `place`-th linear layer."""
    with torch.no_grad():
        linears(model)[place].weight.mul_(factor)
    return model


def with_bias(model, place, value):
    with torch.no_grad():
        linears(model)[place].bias.fill_(value)
    return model


def with_nan(model, place):
    with torch.no_grad():
        linears(model)[place].weight[0, 0] = math.nan
    return model


def infinite_input():
    inputs, targets = digit_vectors()
    inputs[3, 7] = math.inf
    return inputs, targets


def bytes_as_inputs():
    inputs, targets = digit_vectors()
    return (inputs - inputs.min()) / (inputs.max() - inputs.min()) * 255, targets


def constant_(weight):
    return nn.init.constant_(weight, 0.1)


class ExplodingRecurrent(nn.Module):
    """A tanh network whose state matrix has spectral radius 2, read at the last of 60 steps."""

    def __init__(self, width=32, radius=2.0):
        super().__init__()
        self.rnn, self.head = nn.RNN(8, width, batch_first=True), nn.Linear(width, 10)
        with torch.no_grad():
            state = self.rnn.weight_hh_l0
            state.copy_(radius * nn.init.orthogonal_(state))
            self.rnn.weight_ih_l0.mul_(0.01)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


def sequences():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 60, 8, generator=generator), torch.randint(10, (64,), generator=generator)


def standardised(batch):
    """The batch as the advice of a prescription makes it."""
    inputs, targets = batch
    return (inputs - inputs.mean()) / inputs.std(), targets


@dataclass(frozen=True)
class Sick:
    """A network with a known fault: what has to be found first, and where.

    `consequences` have to be explained by it, in any order. `curable` is whether the model itself can be cured.
    """

    build: Build
    rule: str
    layer: str
    consequences: tuple[str, ...] = ()
    batch: Callable[[], tuple[Tensor, Tensor]] = field(default=digit_vectors)
    curable: bool = True


GROWS = ("exploding-signal", "exploding-gradient", "loss-at-start")
SHRINKS = ("vanishing-signal", "vanishing-gradient")
GAIN = "gain-mismatch"

SICK = {
    "tanh-20-normal": Sick(
        lambda: mlp(20, nn.Tanh, weight_=nn.init.normal_),
        GAIN,
        "0",
        ("saturated", "exploding-gradient", "loss-at-start"),
    ),
    "tanh-20-uniform": Sick(
        lambda: mlp(20, nn.Tanh, weight_=nn.init.uniform_), GAIN, "0", ("saturated", "vanishing-gradient")
    ),
    "tanh-20-zeros": Sick(lambda: mlp(20, nn.Tanh, weight_=nn.init.zeros_), "symmetric", "0", SHRINKS),
    "relu-20-zeros": Sick(lambda: mlp(20, nn.ReLU, weight_=nn.init.zeros_), "symmetric", "0", ("dead", *SHRINKS)),
    "tanh-10-constant": Sick(
        lambda: mlp(10, nn.Tanh, weight_=constant_), "symmetric", "0", ("saturated", "vanishing-gradient")
    ),
    "relu-10-constant": Sick(lambda: mlp(10, nn.ReLU, weight_=constant_), "symmetric", "0", ("exploding-signal",)),
    "relu-30-glorot": Sick(lambda: mlp(30, nn.ReLU, 128, glorot_), GAIN, "0", SHRINKS),
    "relu-30-torch": Sick(lambda: mlp(30, nn.ReLU, 128), GAIN, "0", SHRINKS),
    "relu-30-normal": Sick(lambda: mlp(30, nn.ReLU, 128, nn.init.normal_), GAIN, "0", GROWS),
    "relu-60-overflow": Sick(
        lambda: mlp(60, nn.ReLU, 128, nn.init.normal_), GAIN, "0", ("non-finite", "exploding-signal")
    ),
    "sigmoid-10-glorot": Sick(
        lambda: mlp(10, nn.Sigmoid, weight_=glorot_), "vanishing-signal", "10", ("vanishing-gradient",)
    ),
    "sigmoid-10-zeros": Sick(
        lambda: mlp(10, nn.Sigmoid, weight_=nn.init.zeros_), "symmetric", "0", ("vanishing-signal",)
    ),
    "relu-10-dead": Sick(lambda: with_bias(mlp(10, weight_=he_), 4, -50.0), "dead", "8", SHRINKS),
    "relu-10-nan": Sick(lambda: with_nan(mlp(10, weight_=he_), 5), "non-finite", "10"),
    "infinite-input": Sick(lambda: mlp(10, weight_=he_), "non-finite", "input", batch=infinite_input, curable=False),
    "bytes-tanh": Sick(
        lambda: mlp(10, nn.Tanh, weight_=glorot_), "input-scale", "input", ("saturated",), bytes_as_inputs, False
    ),
    "bytes-relu": Sick(
        lambda: mlp(10, weight_=he_), "input-scale", "input", ("loss-at-start",), bytes_as_inputs, False
    ),
    "one-layer-x100": Sick(lambda: scaled(mlp(10, weight_=he_), 5, 100.0), GAIN, "10", GROWS),
    "one-layer-x0.001": Sick(lambda: scaled(mlp(10, weight_=he_), 5, 0.001), GAIN, "10", SHRINKS),
    "one-tanh-layer-x20": Sick(lambda: scaled(mlp(10, nn.Tanh, weight_=glorot_), 5, 20.0), GAIN, "10", ("saturated",)),
    "head-x100": Sick(lambda: scaled(mlp(5, weight_=he_), 4, 100.0), GAIN, "8", GROWS),
    "exploding-rnn": Sick(ExplodingRecurrent, "exploding-gradient", "rnn", batch=sequences, curable=False),
}
