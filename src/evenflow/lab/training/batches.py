"""The order of the batches: paired trials see the same."""

from collections.abc import Iterator

import torch
from torch import Tensor


def batch_order(samples: int, batch: int, steps: int, seed: int) -> Iterator[Tensor]:
    """The rows of every batch: shuffled epochs, cut into full batches; what is left over begins the next.

    Args:
        samples: Size of the training set.
        batch: Samples a batch, at most `samples`.
        steps: How many batches.
        seed: What the order follows from, and nothing else.

    Examples:
        >>> rows = torch.cat(list(batch_order(10, 4, 5, seed=0)))
        >>> rows.bincount().tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
    """
    drawn = torch.Generator().manual_seed(seed)
    left = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(left) < batch:
            left = torch.cat([left, torch.randperm(samples, generator=drawn)])
        yield left[:batch]
        left = left[batch:]
