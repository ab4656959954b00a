r"""Mean and variance of each channel as a function that gradients flow through, and the merging of several.

`normalize_batch` keeps its statistics to itself. Where micro-batches, processes or masks share them, they are computed
apart, merged, and then used: the first two steps are here, the third is `standardize`.

Vectors with one value a channel are float64 here: at a mean of 1e6 a float32 one is off by 0.03.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from evenflow.norm.moments import BatchMoments
from evenflow.norm.normalize import statistics_dtype
from evenflow.norm.shapes import all_but_channel, beside


@dataclass(frozen=True)
class Statistics:
    """Mean and biased variance of each channel over `count` values, all float64.

    Attributes:
        mean: Gradients flow through it.
        variance: Divided by `count`, as in Algorithm 1. Gradients flow through it.
        count: Values per channel, 0-d. At 0 the mean and the variance are 0.
    """

    mean: Float[Tensor, " channel"]
    variance: Float[Tensor, " channel"]
    count: Float[Tensor, ""]

    def is_of(self, mean: Float[Tensor, " channel"], variance: Float[Tensor, " channel"]) -> bool:
        """Tell whether these are that mean and variance to the last digit, NaN being equal to NaN."""
        pairs = (self.mean, mean), (self.variance, variance)
        return all(torch.allclose(own, other, rtol=0, atol=0, equal_nan=True) for own, other in pairs)

    def moments(self, dtype: torch.dtype, count: int) -> BatchMoments:
        """Return what goes into running statistics, in their dtype and without a graph; `count` is the batch's own."""
        unbiased = self.variance.detach() * (self.count / (self.count - 1).clamp(min=1))
        return BatchMoments(self.mean.detach().to(dtype), unbiased.to(dtype), count, self.count)


def statistics_of(
    x: Float[Tensor, "batch channel *space"], mask: Bool[Tensor, "batch 1 *space"] | None = None
) -> Statistics:
    r"""Compute the statistics of a batch, of the valid positions alone where there is a mask.

    $$
    \mu = \tfrac1m \sum_i x_i, \qquad \sigma^2 = \tfrac1m \sum_i (x_i - \mu)^2, \qquad
    \frac{\partial \ell}{\partial x_i}
      = \frac1m \frac{\partial \ell}{\partial \mu} + \frac{2 (x_i - \mu)}{m} \frac{\partial \ell}{\partial \sigma^2}
    $$

    Args:
        x: The batch; it may be empty.
        mask: True where a position is valid. What stands elsewhere, NaN included, has no influence.

    Returns:
        The statistics. Backward keeps `x` and nothing else of its size.

    Examples:
        >>> statistics_of(torch.tensor([[1.0], [3.0]])).variance
        tensor([1.], dtype=torch.float64)
    """
    count = torch.tensor(x.numel() // x.shape[1], device=x.device) if mask is None else mask.sum()
    count = count.to(vector_dtype(x))
    mean, variance = _Statistics.apply(x, mask, count)  # type: ignore[no-untyped-call]  # torch leaves apply bare
    return Statistics(mean, variance, count)


def merge(parts: Sequence[Statistics]) -> Statistics:
    r"""Return the statistics of all values together; parts may be of any size, empty ones too.

    $$
    \mu = \sum_r \frac{n_r}{N} \mu_r, \qquad
    \sigma^2 = \sum_r \frac{n_r}{N} \bigl( \sigma_r^2 + (\mu_r - \mu)^2 \bigr)
    $$

    References:
        Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".
    """
    counts = torch.stack([part.count for part in parts])
    total = counts.sum()
    share = (counts / total.clamp(min=1)).unsqueeze(1)
    means = torch.stack([part.mean for part in parts])
    mean = (share * means).sum(0)
    variance = (share * (torch.stack([part.variance for part in parts]) + (means - mean).square())).sum(0)
    return Statistics(mean, variance, total)


def less_mean(x: Float[Tensor, "batch channel *space"], mean: Float[Tensor, " channel"]) -> Tensor:
    """Subtract a float64 mean from a batch in the dtype of its statistics: all digits, but no float64 copy."""
    dtype = statistics_dtype(x)
    high = mean.to(dtype)
    low = (mean - high).to(dtype)
    return x.to(dtype) - beside(x, high) - beside(x, low)


class _Statistics(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, mask: Tensor | None, count: Tensor) -> tuple[Tensor, Tensor]:
        wide = _valid(x.to(statistics_dtype(x)), mask)
        over, least_one = all_but_channel(x), count.clamp(min=1)
        guess = wide.sum(over) / least_one.to(wide.dtype)
        # The mean of large numbers is rounded; that of what is left tells by how much, to the last digit.
        rest = _valid(wide - beside(x, guess), mask)
        correction = rest.sum(over).to(count.dtype) / least_one
        variance = rest.square().sum(over).to(count.dtype) / least_one - correction.square()
        # Rounding may leave a constant channel a variance just under 0.
        return guess.to(count.dtype) + correction, variance.abs()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[0])

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor, d_variance: Tensor) -> tuple[Tensor, None, None]:
        x, mask, count, mean = ctx.saved_tensors
        dtype, least_one = statistics_dtype(x), count.clamp(min=1)
        constant, slope = (d_mean / least_one).to(dtype), (2 * d_variance / least_one).to(dtype)
        dx = torch.addcmul(beside(x, constant), beside(x, slope), less_mean(x, mean))
        return _valid(dx, mask).to(x.dtype), None, None


def _valid(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else torch.where(mask, x, torch.zeros((), dtype=x.dtype, device=x.device))


def vector_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype of vectors with one value a channel that belong to `x`: float64 where the device knows it."""
    return torch.float32 if x.device.type == "mps" else torch.float64
