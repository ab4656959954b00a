"""Deep multilayer perceptrons, and other networks of dense layers."""

from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from networks.network import Network, classified, normal

ACTIVATIONS = {
    "relu": nn.ReLU, "leaky-relu": partial(nn.LeakyReLU, 0.1), "prelu": nn.PReLU, "relu6": nn.ReLU6, "elu": nn.ELU,
    "selu": nn.SELU, "celu": nn.CELU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish, "hardswish": nn.Hardswish,
    "tanh": nn.Tanh, "hardtanh": nn.Hardtanh, "softsign": nn.Softsign, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus,
}  # fmt: skip


def mlp(activation, depth=50, width=128):
    sizes = [64, *[width] * (depth - 1)]
    pairs = pairwise(sizes)
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair), activation())]
    return nn.Sequential(*layers, nn.Linear(width, 10))


class Functional(nn.Module):
    """Activations as functions, in place and not, and one layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.third, self.head = (nn.Linear(64, 64) for _ in range(4))
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.first(x), inplace=True)
        x = F.gelu(self.shared(x))
        x = torch.tanh(self.third(x)).mul(1.0)
        return self.head(F.gelu(self.shared(x)))


class Gated(nn.Module):
    """Gated linear units (Dauphin et al. 2017) and a highway layer (Srivastava et al. 2015)."""

    def __init__(self):
        super().__init__()
        self.wide = nn.Linear(64, 128)
        self.norm = nn.LayerNorm(64)
        self.transform, self.gate = nn.Linear(64, 64), nn.Linear(64, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        x = self.norm(F.glu(self.wide(x), -1))
        gate = torch.sigmoid(self.gate(x))
        x = gate * torch.relu(self.transform(x)) + (1 - gate) * x
        return self.head(x)


class Mixer(nn.Module):
    """MLP-Mixer (Tolstikhin et al. 2021)."""

    def __init__(self, depth=4, width=32, places=16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.ModuleList(MixerBlock(width, places) for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class MixerBlock(nn.Module):
    def __init__(self, width, places):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.across = nn.Sequential(nn.Linear(places, 2 * places), nn.GELU(), nn.Linear(2 * places, places))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.within(self.norm2(x))


class ResidualMlp(nn.Module):
    """Residual blocks without any normalisation (Zhang et al. 2019)."""

    def __init__(self, depth=20, width=64):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(torch.relu(x))


def weight_normed():
    layers = [nn.utils.parametrizations.weight_norm(nn.Linear(64, 64)) for _ in range(3)]
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())], nn.Linear(64, 10))


def mlp_autoencoder():
    sizes = (64, 48, 32, 8, 32, 48)
    pairs = pairwise(sizes)
    layers = [layer for pair in pairs for layer in (nn.Linear(*pair), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(48, 64))


NETWORKS = [
    *(
        Network(f"mlp-50-{name}", partial(mlp, activation), partial(classified, 128, 64), 10)
        for name, activation in ACTIVATIONS.items()
    ),
    Network("mlp-3-relu", partial(mlp, nn.ReLU, 3), partial(classified, 64, 64), 10),
    Network("functional-and-shared", Functional, partial(classified, 64, 64), 10),
    Network("gated-and-highway", Gated, partial(classified, 64, 64), 10),
    Network("mlp-mixer", Mixer, partial(classified, 64, 3, 16, 16), 10),
    Network("residual-mlp-without-norm", ResidualMlp, partial(classified, 64, 64), 10),
    Network("weight-normed-mlp", weight_normed, partial(classified, 64, 64), 10),
    Network("autoencoder", mlp_autoencoder, lambda: (normal(64, 64), normal(64, 64))),
]
