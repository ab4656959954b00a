"""Thirty ReLU layers with Glorot's weights, which are too small for ReLU by a factor of 1.4 a layer.

evenflow check examples/deep_relu_glorot.py:build
evenflow check examples/deep_relu_glorot.py:build_treated
"""

import torch.nn.functional as F
from torch import Tensor, nn

import evenflow as ef
from evenflow.data import digits_batch


class DeepReLU(nn.Module):
    """A classifier of 64 pixels with 29 hidden layers."""

    def __init__(self, width: int = 128, depth: int = 30):
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 2))
        self.head = nn.Linear(width, 10)
        for layer in (self.stem, *self.hidden, self.head):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits of shape (N, 10) for pixels of shape (N, 64)."""
        x = F.relu(self.stem(pixels))
        for layer in self.hidden:
            x = F.relu(layer(x))
        return self.head(x)


def build() -> DeepReLU:
    """The network as its author left it."""
    return DeepReLU()


def build_treated() -> DeepReLU:
    """The same, cured by its own diagnosis."""
    model = build()
    diagnosis = ef.check(model, digits_batch())
    ef.treat_(model, diagnosis)
    return model
