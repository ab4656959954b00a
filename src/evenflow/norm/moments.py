"""What one batch says about each channel, and how it moves the running statistics."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from evenflow.errors import NonFiniteError

_NAMED_CHANNELS = 8


@dataclass(frozen=True)
class BatchMoments:
    """Mean and variance of each channel over one batch.

    Attributes:
        mean: One a channel, in the dtype of the statistics.
        variance: The unbiased one, divided by the number of values less one.
        count: Values per channel of this batch. At 0 the moments mean nothing.
        valid: A 0-d tensor with the values per channel that they are the moments of, where only the device knows
            it: some are masked, or other processes have more.
    """

    mean: Float[Tensor, " channel"]
    variance: Float[Tensor, " channel"]
    count: int
    valid: Float[Tensor, ""] | None = None

    @property
    def size(self) -> int | Float[Tensor, ""]:
        """Values per channel that these are the moments of."""
        return self.count if self.valid is None else self.valid

    def biased(self) -> Float[Tensor, " channel"]:
        """Return the variance divided by the number of values, the one that normalises the batch."""
        return self.variance * ((self.size - 1) / self.size)

    def merged(self, other: "BatchMoments") -> "BatchMoments":
        r"""Return the moments of the values of both; either may be empty, not both.

        $$
        \mu = \mu_a + \delta \frac{n_b}{n}, \qquad
        (n - 1) \sigma^2 = (n_a - 1) \sigma_a^2 + (n_b - 1) \sigma_b^2 + \delta^2 \frac{n_a n_b}{n}, \qquad
        \delta = \mu_b - \mu_a, \quad n = n_a + n_b
        $$

        Examples:
            >>> one, two = (BatchMoments(torch.tensor([m]), torch.tensor([2.0]), 2) for m in (1.0, 5.0))
            >>> one.merged(two).mean, one.merged(two).variance
            (tensor([3.]), tensor([6.6667]))

        References:
            Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".
        """
        size = self.size + other.size
        share, delta = other.size / size, other.mean - self.mean
        within = self.variance * _positive(self.size - 1) + other.variance * _positive(other.size - 1)
        between = delta.square() * (self.size * share)
        mean, variance = self.mean + delta * share, (within + between) / _positive(size - 1)
        return BatchMoments(mean, variance, self.count + other.count, size if isinstance(size, Tensor) else None)

    def finite(self) -> Bool[Tensor, " channel"]:
        """Tell for each channel whether both moments are finite."""
        return torch.isfinite(self.mean) & torch.isfinite(self.variance)

    def require_finite(self) -> None:
        """Raise an error that names the channels whose moments are not finite.

        Raises:
            NonFiniteError: There is such a channel.
        """
        channels = (~self.finite()).nonzero().flatten().tolist()
        if not channels:
            return
        named = ", ".join(map(str, channels[:_NAMED_CHANNELS]))
        more = ", ..." if len(channels) > _NAMED_CHANNELS else ""
        raise NonFiniteError(
            f"{len(channels)} of {len(self.mean)} channels have NaN or infinity in their batch statistics: "
            f"{named}{more}. The running statistics were not changed. Find what made the input non-finite, "
            "or pass on_nonfinite='skip' to leave such batches out of the running statistics."
        )

    def update_(self, running: Tensor, new: Tensor, momentum: float | Tensor, accept: Tensor | None = None) -> None:
        r"""Move a running statistic in place: $r \leftarrow (1 - \alpha)\,r + \alpha\,v$.

        The step is computed in the wider of the two dtypes and then rounded to that of the buffer.

        Args:
            running: The buffer $r$.
            new: $v$, this object's `mean` or `variance`.
            momentum: $\alpha$, torch's: the weight of the new value. A 0-d tensor where only the device knows it.
            accept: A 0-d bool; where it is false the buffer stays. A tensor, so that no device has to wait.
        """
        dtype = torch.promote_types(running.dtype, new.dtype)
        old = running.to(dtype)
        moved = torch.lerp(old, new.to(dtype), momentum.to(dtype) if isinstance(momentum, Tensor) else momentum)
        if accept is not None:
            moved = torch.where(accept, moved, old)
        running.copy_(moved)


def _positive(count: int | Tensor) -> int | Tensor:
    return count.clamp(min=0) if isinstance(count, Tensor) else max(count, 0)
