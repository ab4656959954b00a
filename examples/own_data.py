"""A model and data of one's own: any function that yields batches will do.

evenflow check examples/own_data.py:build --data examples/own_data.py:raw_batches
evenflow check examples/own_data.py:build --data examples/own_data.py:batches
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]

# A weather station: pressure in Pa, temperature in degrees C, humidity and cloud cover as shares.
MEANS = torch.tensor([101_325.0, 11.0, 0.7, 0.5])
SPREADS = torch.tensor([1_000.0, 8.0, 0.15, 0.3])


def build() -> nn.Sequential:
    """Predicts tomorrow's temperature, with torch's default weights."""
    return nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def raw_batches() -> Iterator[Batch]:
    """The readings as they come; every feature has a unit of its own, and pressure drowns the others."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        noise = torch.randn(128, 4, generator=generator)
        yield MEANS + SPREADS * noise, 0.3 * noise[:, :1] + 0.9 * noise[:, 1:2]


def batches() -> Iterator[Batch]:
    """The same, standardised: every feature has mean 0 and standard deviation 1."""
    for readings, targets in raw_batches():
        yield (readings - MEANS) / SPREADS, targets
