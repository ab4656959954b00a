"""A small convolutional network whose author set every weight to zero, "to start from nothing".

evenflow check examples/zero_init_cnn.py:build --data digits-images
evenflow check examples/zero_init_cnn.py:build_treated --data digits-images
"""

import torch.nn.functional as F
from torch import Tensor, nn

import evenflow as ef
from evenflow.data import digits_batch


class SmallCNN(nn.Module):
    """A classifier of images of 8 by 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.fc1 = nn.Linear(32 * 2 * 2, 64)
        self.fc2 = nn.Linear(64, 10)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (N, 10) for images of shape (N, 1, 8, 8)."""
        x = F.max_pool2d(F.relu(self.conv1(images)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.fc1(x.flatten(start_dim=1)))
        return self.fc2(x)


def build() -> SmallCNN:
    """The network as its author left it."""
    return SmallCNN()


def build_treated() -> SmallCNN:
    """The same, cured by its own diagnosis."""
    model = build()
    diagnosis = ef.check(model, digits_batch(images=True))
    ef.treat_(model, diagnosis)
    return model
