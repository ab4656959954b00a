"""What a network of the zoo is."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn


@dataclass(frozen=True)
class Network:
    """A small network of a well-known kind.

    Attributes:
        name: Its name.
        build: Makes it.
        batch: Makes a batch for it, as `evenflow.initialize_` takes it.
        classes: Number of classes, where its output is a logit for each.
        uneven: Why theory allows gradients that differ by more than ten times, by the end of the layer's name.
    """

    name: str
    build: Callable[[], nn.Module]
    batch: Callable[[], object]
    classes: int | None = None
    uneven: dict[str, str] = field(default_factory=dict)


def normal(*shape, seed=0):
    """Standard normal numbers that do not depend on torch's own state."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(*shape, high=50, seed=0):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def classified(*shape, classes=10):
    """Standardised inputs and classes for them."""
    return normal(*shape), tokens(shape[0], high=classes, seed=1)
