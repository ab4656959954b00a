"""`GhostBatchNorm`: the statistics of small parts of a large batch."""

from typing import Unpack

import torch
from torch import Tensor

from evenflow import checks
from evenflow.norm.functional import check_batch
from evenflow.norm.modules import EvenBatchNorm
from evenflow.norm.normalize import normalize_batch
from evenflow.norm.options import Options


class GhostBatchNorm(EvenBatchNorm):
    r"""Batch normalisation of each part of a batch by its own statistics.

    The batch of $N$ samples is cut along its first dimension into $\lceil N / g \rceil$ ghost batches of $g$ samples
    at most, in order, as equal as can be; a batch of $g + 1$ does not leave one sample alone. Each is normalised as
    `BatchNorm1d` and its kind do, with gradients through its own statistics. The running statistics move by each ghost
    batch in turn, as if these had come one after the other, and `num_batches_tracked` counts them:

    $$
    r \leftarrow (1 - \alpha)\, r + \alpha\, v_l, \qquad l = 1, \dots, \lceil N / g \rceil
    $$

    In eval mode there are no ghost batches. `accumulate` and `on_nonfinite` see a ghost batch as a batch. The noise of
    small batches remains in large ones, which was found to help generalisation.

    Args:
        num_features: Number of channels, the size of dimension 1. For those up to `dtype` and the last ones see
            `EvenBatchNorm`.
        ghost_batch_size: $g$, at least 1 (with (batch, channel) data one sample is rejected, as everywhere).

    Raises:
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: An argument is out of range.

    Examples:
        >>> layer = GhostBatchNorm(1, ghost_batch_size=2)
        >>> layer(torch.tensor([[1.0], [3.0], [100.0], [300.0]])).detach().flatten()
        tensor([-1.0000,  1.0000, -1.0000,  1.0000])
        >>> layer.num_batches_tracked
        tensor(2)

    References:
        Hoffer, Hubara & Soudry 2017, "Train longer, generalize better", Algorithm 1.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        ghost_batch_size: int = 32,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **options)
        self.ghost_batch_size = checks.integer("ghost_batch_size", ghost_batch_size, low=1)

    def extra_repr(self) -> str:
        """Describe the layer."""
        return f"{super().extra_repr()}, ghost_batch_size={self.ghost_batch_size}"

    def _by_batch(
        self, x: Tensor, residual: Tensor | None, activation: str | None, mask: Tensor | None = None
    ) -> Tensor:
        if x.numel() == 0 or not self.training:
            return super()._by_batch(x, residual, activation, mask)
        ghosts = x.tensor_split(-(-len(x) // self.ghost_batch_size))
        for ghost in ghosts:
            check_batch(ghost, training=True)
        wide = [self._in_statistics_dtype(ghost) for ghost in ghosts]
        residuals = [None] * len(ghosts) if residual is None else residual.tensor_split(len(ghosts))
        parts = [
            normalize_batch(part, self.weight, self.bias, self.eps, activation=activation, residual=rest)
            for part, rest in zip(wide, residuals, strict=True)
        ]
        self._track(*(moments for _, moments in parts))
        return torch.cat([output for output, _ in parts]).to(x.dtype)
