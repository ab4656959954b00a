"""Convolutional networks."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from networks.network import Network, classified, normal


def plain(depth=20, width=16, activation=nn.ReLU):
    layers = [nn.Conv2d(3, width, 3, padding=1), activation()]
    for _ in range(depth - 1):
        layers += [nn.Conv2d(width, width, 3, padding=1), activation()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * width, 10))


def kinds():
    """Strided, grouped, depthwise, dilated and transposed convolutions."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 32, 1), nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2), nn.ReLU(), nn.ConvTranspose2d(32, 16, 4, stride=2, padding=1),
        nn.ReLU(), nn.Flatten(), nn.Linear(16 * 16 * 16, 10),
    )  # fmt: skip


class Block(nn.Module):
    def __init__(self, inputs, width, stride=1, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1)
        self.norm1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1)
        self.norm2 = norm(width)
        self.skip = nn.Sequential(nn.Conv2d(inputs, width, 1, stride), norm(width)) if stride > 1 else nn.Identity()

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(self.skip(x) + y)


class ResNet(nn.Module):
    def __init__(self, norm=nn.BatchNorm2d, width=16):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1), norm(width)
        sizes = [(width, width, 1), (width, width, 1), (width, 2 * width, 2), (2 * width, 2 * width, 1)]
        self.blocks = nn.Sequential(*(Block(*size, norm=norm) for size in sizes))
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.norm(self.stem(x)))).mean((2, 3)))


def grouped(width):
    return nn.GroupNorm(4, width)


class NormFree(nn.Module):
    """A residual CNN without normalisation."""

    def __init__(self, depth=8, width=16):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
            )
            for _ in range(depth)
        )
        self.head = nn.Linear(width * 16, 10)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(F.adaptive_avg_pool2d(F.relu(x), 4).flatten(1))


class UNet(nn.Module):
    """Ronneberger et al. 2015, in small."""

    def __init__(self, norm=False):
        super().__init__()
        self.down1, self.down2, self.middle = (self._pair(*size, norm) for size in ((3, 16), (16, 32), (32, 64)))
        self.up2, self.up1 = nn.ConvTranspose2d(64, 32, 2, 2), nn.ConvTranspose2d(32, 16, 2, 2)
        self.merge2, self.merge1 = self._pair(64, 32, norm), self._pair(32, 16, norm)
        self.head = nn.Conv2d(16, 5, 1)

    @staticmethod
    def _pair(inputs, outputs, norm):
        layers = []
        for size in (inputs, outputs):
            layers += [nn.Conv2d(size, outputs, 3, padding=1), *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]
        return nn.Sequential(*layers)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.middle(F.max_pool2d(b, 2))
        b = self.merge2(torch.cat([self.up2(c), b], 1))
        return self.head(self.merge1(torch.cat([self.up1(b), a], 1)))


class DenseNet(nn.Module):
    """Huang et al. 2017: every layer reads all before it."""

    def __init__(self, growth=8, depth=6):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        sizes = [16 + growth * place for place in range(depth)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(size), nn.ReLU(), nn.Conv2d(size, growth, 3, padding=1, bias=False))
            for size in sizes
        )
        self.norm, self.head = nn.BatchNorm2d(sizes[-1] + growth), nn.Linear(sizes[-1] + growth, 10)

    def forward(self, x):
        x = self.stem(x)
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return self.head(F.relu(self.norm(x)).mean((2, 3)))


class SqueezeExcitation(nn.Module):
    """Hu et al. 2018, in a residual block."""

    def __init__(self, width=16):
        super().__init__()
        self.stem, self.conv, self.norm = (
            nn.Conv2d(3, width, 3, padding=1),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )
        self.squeeze, self.excite = nn.Linear(width, 4), nn.Linear(4, width)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = F.relu(self.stem(x))
        y = self.norm(self.conv(x))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3))))))
        return self.head(F.relu(x + y * gate[..., None, None]).mean((2, 3)))


class Vae(nn.Module):
    """Kingma & Welling 2014."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
        self.mean, self.log_variance = nn.Linear(32, 8), nn.Linear(32, 8)
        self.decoder = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64))

    def forward(self, x):
        hidden = self.encoder(x)
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        return self.decoder(mean + torch.exp(log_variance / 2) * torch.randn_like(mean))


def generator():
    """Of a GAN (Radford et al. 2016)."""
    return nn.Sequential(
        nn.ConvTranspose2d(16, 64, 4), nn.BatchNorm2d(64), nn.ReLU(), nn.ConvTranspose2d(64, 32, 4, 2, 1),
        nn.BatchNorm2d(32), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh(),
    )  # fmt: skip


def instance_normed():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.InstanceNorm2d(16, affine=True), nn.SiLU(), nn.Conv2d(16, 16, 3, padding=1),
        nn.InstanceNorm2d(16), nn.SiLU(), nn.Flatten(), nn.Linear(16 * 16 * 16, 10),
    )  # fmt: skip


IMAGES = partial(classified, 64, 3, 16, 16)

NETWORKS = [
    Network("cnn-20-relu", plain, IMAGES, 10),
    Network("cnn-40-tanh", partial(plain, 40, 16, nn.Tanh), IMAGES, 10),
    Network("cnn-of-all-kinds", kinds, IMAGES, 10),
    Network("resnet-batch-norm", ResNet, IMAGES, 10),
    Network("resnet-group-norm", partial(ResNet, grouped), IMAGES, 10),
    Network("residual-cnn-without-norm", NormFree, IMAGES, 10),
    Network("u-net", UNet, lambda: (normal(8, 3, 16, 16), normal(8, 5, 16, 16))),
    Network("u-net-batch-norm", partial(UNet, True), lambda: (normal(8, 3, 16, 16), normal(8, 5, 16, 16))),
    Network("densenet", DenseNet, IMAGES, 10),
    Network("squeeze-and-excitation", SqueezeExcitation, IMAGES, 10),
    Network("vae", Vae, lambda: (normal(64, 64), normal(64, 64))),
    Network("gan-generator", generator, lambda: normal(16, 16, 1, 1)),
    Network("instance-norm-cnn", instance_normed, IMAGES, 10),
]
