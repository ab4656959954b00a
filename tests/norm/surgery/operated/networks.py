"""Small networks in the styles that are met in the wild."""

import torch
from torch import nn
from torch.nn import functional as F


class BasicBlock(nn.Module):
    """As in torchvision: one in-place ReLU in two places, `+=`, an optional shortcut."""

    def __init__(self, inputs, width, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        identity = x
        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)
        out = self.conv2(out)
        out = self.bn2(out)
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet18(nn.Module):
    """The shape of ResNet-18, `width` channels in its first stage."""

    def __init__(self, width=8, classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(2)
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        for stage in range(4):
            first = BasicBlock(sizes[stage], sizes[stage + 1], 1 if stage == 0 else 2)
            self.add_module(f"layer{stage + 1}", nn.Sequential(first, BasicBlock(sizes[stage + 1], sizes[stage + 1])))
        self.fc = nn.Linear(sizes[4], classes)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class UNet(nn.Module):
    """Functional ReLU, transposed convolutions, concatenation."""

    def __init__(self, width=4):
        super().__init__()
        self.down, self.norm_down = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.middle, self.norm_middle = nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width)
        self.up, self.norm_up = nn.ConvTranspose2d(2 * width, width, 2, 2), nn.BatchNorm2d(width)
        self.merge, self.norm_merge = nn.Conv2d(2 * width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x):
        a = F.relu(self.norm_down(self.down(x)))
        b = F.leaky_relu(self.norm_middle(self.middle(F.max_pool2d(a, 2))), inplace=True)
        up = torch.relu(self.norm_up(self.up(b)))
        merged = self.norm_merge(self.merge(torch.cat([up, a], 1))).relu_()
        return self.head(merged)


class ConvBlockResidual(nn.Module):
    """The branch is a Sequential that ends in a BatchNorm; the sum and the activation are its parent's."""

    def __init__(self, width=4):
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x):
        return F.gelu(x + self.branch(x))


class Mlp(nn.Module):
    """Methods and functions behind BatchNorm1d; dropout asks for the mode."""

    def __init__(self, width=8):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, width), nn.Linear(width, width), nn.Linear(width, 3)
        self.bn1, self.bn2 = nn.BatchNorm1d(width), nn.BatchNorm1d(width)

    def forward(self, x):
        x = self.bn1(self.first(x)).sigmoid()
        x = F.dropout(x, 0.3, training=self.training)
        return self.head(torch.tanh(self.bn2(self.second(x))))


class Gan(nn.Module):
    """A generator and the discriminator that reads it, slope 0.2."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Sequential(
            nn.ConvTranspose2d(4, 8, 4), nn.BatchNorm2d(8), nn.ReLU(True), nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh()
        )
        self.discriminator = nn.Sequential(
            nn.Conv2d(3, 8, 4, 2, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(8 * 16, 1)
        )

    def forward(self, z):
        return self.discriminator(self.generator(z))


def images(samples=4, size=16):
    return torch.randn(samples, 3, size, size, generator=torch.Generator().manual_seed(0))


NETWORKS = {
    "resnet": (ResNet18, images),
    "unet": (UNet, images),
    "conv-block-residual": (ConvBlockResidual, lambda: torch.randn(4, 4, 8, 8)),
    "mlp": (Mlp, lambda: torch.randn(16, 4)),
    "gan": (Gan, lambda: torch.randn(4, 4, 1, 1)),
}


def built(name):
    """One of them, always with the same weights, and a batch for it."""
    torch.manual_seed(0)
    build, batch = NETWORKS[name]
    return build(), batch()


class OneBlock(nn.Module):
    """A BatchNorm, and whatever is made of it."""

    def __init__(self, after, norm=None, act=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4) if norm is None else norm
        self.act = nn.ReLU() if act is None else act
        self.flag = True
        self.after = after

    def forward(self, x):
        return self.after(self, self.conv(x))
