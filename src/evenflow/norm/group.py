"""Batches that count as one in the running statistics."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from evenflow.norm.moments import BatchMoments


@dataclass(frozen=True)
class Group:
    """The moments of the batches since the running statistics moved last; buffers of a layer, written in place.

    Attributes:
        mean: Of all values of the group, one a channel.
        variance: The unbiased one.
        count: Values per channel.
        batches: How many batches there are.
    """

    mean: Float[Tensor, " channel"]
    variance: Float[Tensor, " channel"]
    count: Int64[Tensor, ""]
    batches: Int64[Tensor, ""]

    def __iter__(self) -> Iterator[Tensor]:
        yield from (self.mean, self.variance, self.count, self.batches)

    @classmethod
    def empty(cls, like: Float[Tensor, " channel"]) -> "Group":
        """Make a group of no batches."""
        return cls(torch.zeros_like(like), torch.zeros_like(like), *(like.new_zeros(2, dtype=torch.int64).unbind()))

    def moments(self) -> BatchMoments:
        """Return the moments of the group, independent of the buffers."""
        return BatchMoments(self.mean.clone(), self.variance.clone(), 0, self.count.to(self.mean.dtype))

    def add_(self, moments: BatchMoments, size: int, accept: Tensor | None) -> tuple[BatchMoments, Tensor]:
        """Add a batch; a group that is whole by it begins anew.

        Args:
            moments: Of the batch.
            size: How many batches make a whole group.
            accept: A 0-d bool, whether the batch counts. A tensor, so that no device has to wait.

        Returns:
            The moments of the group with the batch, and a 0-d bool: whether it is whole by it.
        """
        together = self.moments().merged(moments)
        after = self.batches + 1
        whole = after >= size
        assert together.valid is not None
        count = together.valid.to(torch.int64)
        for buffer, new in zip(self, (together.mean, together.variance, count, after), strict=True):
            kept = torch.where(whole, torch.zeros_like(new), new).to(buffer.dtype)
            buffer.copy_(kept if accept is None else torch.where(accept, kept, buffer))
        return together, whole if accept is None else whole & accept

    def clear_(self) -> None:
        """Forget all batches."""
        for buffer in self:
            buffer.zero_()
