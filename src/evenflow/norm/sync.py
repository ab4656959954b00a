"""`SyncBatchNorm`: the statistics of a batch that is spread over processes."""

from typing import Any, Unpack

import torch
import torch.distributed as dist
from torch import Tensor

from evenflow.norm.modules import EvenBatchNorm
from evenflow.norm.options import Options
from evenflow.norm.statistics import Statistics, merge


class SyncBatchNorm(EvenBatchNorm):
    r"""Batch normalisation by the statistics of all processes, on any backend and device.

    With $n_r$ values a channel in process $r$, of mean $\mu_r$ and variance $\sigma_r^2$, and $N = \sum_r n_r$:

    $$
    \mu = \sum_r \frac{n_r}{N} \mu_r, \qquad
    \sigma^2 = \sum_r \frac{n_r}{N} \bigl( \sigma_r^2 + (\mu_r - \mu)^2 \bigr), \qquad
    \frac{\partial \ell}{\partial x_i} = \gamma s\, g_i + \frac1N \sum_r \frac{\partial \ell_r}{\partial \mu}
      + \frac{2 (x_i - \mu)}{N} \sum_r \frac{\partial \ell_r}{\partial \sigma^2}
    $$

    Outputs, gradients with respect to the input, and running statistics are those of one process that has the whole
    batch and the sum of all losses. Gradients of `weight` and `bias` are those of the local loss; DDP averages them.
    Processes may have batches of different sizes, also in space, and empty ones. All of them have to call the layer,
    and to run the backward pass of its output, an empty one too: `output.sum().backward()` will do.

    Unlike torch's, the layer takes CPU tensors (gloo), uneven batches are exact, means are merged and not computed from
    sums of squares, and it is no subclass of torch's, so that DDP takes it on a CPU. In eval mode, without a process
    group and in a group of one it is the plain layer.

    Each call exchanges one vector of 2 C + 1 numbers forward and one of 2 C backward.

    Args:
        num_features: Number of channels, the size of dimension 1. For those up to `track_running_stats`, for
            `device`, `dtype` and the last ones see `EvenBatchNorm`.
        process_group: The processes that share statistics; None: all.

    Raises:
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: An argument is out of range.

    Examples:
        >>> SyncBatchNorm(2)(torch.randn(4, 2, 3)).shape  # one process
        torch.Size([4, 2, 3])

    References:
        Chan, Golub & LeVeque 1983, "Algorithms for computing the sample variance".
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        process_group: Any = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **options)
        self.process_group = process_group

    def _shares_statistics(self) -> bool:
        return super()._shares_statistics() or self._has_others()

    def _has_others(self) -> bool:
        if not (self.training and dist.is_available() and dist.is_initialized()):
            return False
        return dist.get_world_size(self.process_group) > 1

    def _joined(self, own: Statistics) -> Statistics:
        if not self._has_others():
            return super()._joined(own)
        merge: Any = _Merge.apply
        mean, variance, count = merge(own.mean, own.variance, own.count, self.process_group)
        return super()._joined(Statistics(mean, variance, count))


class _Merge(torch.autograd.Function):
    """Merge statistics over processes. Its backward pass can be differentiated, as that is a sum over processes too."""

    @staticmethod
    def forward(mean: Tensor, variance: Tensor, count: Tensor, group: Any) -> tuple[Tensor, Tensor, Tensor]:
        own = torch.cat([mean, variance, count.reshape(1)])
        everyone = [torch.empty_like(own) for _ in range(dist.get_world_size(group))]
        dist.all_gather(everyone, own, group=group)
        channels = len(mean)
        merged = merge([Statistics(each[:channels], each[channels:-1], each[-1]) for each in everyone])
        return merged.mean, merged.variance, merged.count

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        mean, _, count, ctx.group = inputs
        merged_mean, _, total = output
        ctx.mark_non_differentiable(total)
        ctx.save_for_backward(mean, merged_mean, count, total)

    @staticmethod
    def backward(ctx: Any, d_mean: Tensor, d_variance: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        mean, merged_mean, count, total = ctx.saved_tensors
        add_up: Any = _Sum.apply
        everyones = add_up(torch.cat([d_mean, d_variance]), ctx.group)
        d_mean, d_variance = everyones.chunk(2)
        share = count / total.clamp(min=1)
        return share * (d_mean + 2 * (mean - merged_mean) * d_variance), share * d_variance, None, None


class _Sum(torch.autograd.Function):
    """Sum a vector over processes; the gradient is the sum of everyone's."""

    @staticmethod
    def forward(vector: Tensor, group: Any) -> Tensor:
        total = vector.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Any], output: Tensor) -> None:  # noqa: ARG004
        ctx.group = inputs[1]

    @staticmethod
    def backward(ctx: Any, d_total: Tensor) -> tuple[Tensor, None]:
        return _Sum.apply(d_total, ctx.group), None  # type: ignore[no-untyped-call]  # torch leaves apply bare
