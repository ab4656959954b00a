"""`BatchRenorm`: batch normalisation whose training and inference agree, for small batches."""

from collections import deque
from typing import Unpack

import torch
from jaxtyping import Float
from torch import Tensor

from evenflow import checks
from evenflow.errors import ModelError, ParameterTypeError, ParameterValueError
from evenflow.norm.correction import renorm_correction
from evenflow.norm.modules import EvenBatchNorm
from evenflow.norm.options import Options
from evenflow.norm.standardize import standardize
from evenflow.norm.statistics import Statistics, vector_dtype
from evenflow.norm.tracing import is_recomputation, values_are_hidden

_REMEMBERED = 64
"""Batches whose correction a recomputation may ask for; each takes four vectors with one value a channel."""


class BatchRenorm(EvenBatchNorm):
    r"""Batch renormalisation: corrected towards the running statistics, as far as limits allow.

    $$
    y = f\!\left( \gamma \left( \frac{x - \mu_B}{\sigma_B}\, r + d \right) + \beta \right), \qquad
    r = \operatorname{clip}_{[1/r_{\max},\, r_{\max}]} \frac{\sigma_B}{\sigma}, \qquad
    d = \operatorname{clip}_{[-d_{\max},\, d_{\max}]} \frac{\mu_B - \mu}{\sigma}
    $$

    with the batch's $\mu_B$ and $\sigma_B = \sqrt{\operatorname{var}_B + \epsilon}$, and the running $\mu$ and
    $\sigma = \sqrt{\operatorname{var} + \epsilon}$ as they are before this batch. Gradients flow through $\mu_B$ and
    $\sigma_B$, and not through $r$ and $d$. Where neither is clipped, the output in training is that of eval mode.

    The limits rise linearly with `num_batches_tracked`: until the start of their ramp the layer is batch
    normalisation ($r_{\max} = 1$, $d_{\max} = 0$), and after its end they are `r_max` and `d_max`. The running variance
    is the biased one unless `running_variance` says otherwise, so that $r$ is 1 on average.

    Args:
        num_features: Number of channels, the size of dimension 1. For those up to `dtype` and the last ones see
            `EvenBatchNorm`. There have to be running statistics.
        r_max: Largest correction of the scale, at least 1.
        d_max: Largest correction of the shift, at least 0, in standard deviations.
        r_ramp: Batches at which the limit of $r$ begins to rise and at which it is `r_max`.
        d_ramp: The same for $d$.

    Raises:
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: An argument is out of range.

    Examples:
        >>> layer = BatchRenorm(1, r_ramp=(0, 0), d_ramp=(0, 0))
        >>> layer(torch.tensor([[1.0], [3.0]])).detach()  # by the running mean 0 and variance 1
        tensor([[1.0000],
                [3.0000]])

    References:
        Ioffe 2017, "Batch Renormalization", Algorithm 1 and section 4; the ramps' defaults are of its experiments.
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
        r_max: float = 3.0,
        d_max: float = 5.0,
        r_ramp: tuple[int, int] = (5_000, 40_000),
        d_ramp: tuple[int, int] = (5_000, 25_000),
        **options: Unpack[Options],
    ) -> None:
        if not track_running_stats:
            raise ParameterValueError("track_running_stats must be True: BatchRenorm corrects towards those statistics")
        options.setdefault("running_variance", "biased")
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, **options)
        self.r_max = checks.real("r_max", r_max, low=1)
        self.d_max = checks.real("d_max", d_max, low=0)
        self._corrections: deque[tuple[Tensor, ...]] = deque(maxlen=_REMEMBERED)
        self.r_ramp = _check_ramp("r_ramp", r_ramp)
        self.d_ramp = _check_ramp("d_ramp", d_ramp)

    def limits(self) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        r"""Return $r_{\max}$ and $d_{\max}$ for the next batch."""
        return (
            1 + (self.r_max - 1) * self._risen(self.r_ramp),
            self.d_max * self._risen(self.d_ramp),
        )

    def extra_repr(self) -> str:
        """Describe the layer."""
        shown = f"r_max={self.r_max}, d_max={self.d_max}, r_ramp={self.r_ramp}, d_ramp={self.d_ramp}"
        return f"{super().extra_repr()}, {shown}"

    def _risen(self, ramp: tuple[int, int]) -> Tensor:
        """Return how far the limits have risen, from 0 to 1."""
        start, end = ramp
        assert self.num_batches_tracked is not None
        tracked = self.num_batches_tracked.to(vector_dtype(self.num_batches_tracked))
        return (tracked >= end).to(tracked) if start == end else ((tracked - start) / (end - start)).clamp(0, 1)

    def _shares_statistics(self) -> bool:
        return True

    def _normalized(self, x: Tensor, statistics: Statistics, residual: Tensor | None, activation: str | None) -> Tensor:
        weight, bias = self._corrected(statistics)
        return standardize(x, statistics, weight, bias, self.eps, activation=activation, residual=residual)

    def _corrected(self, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """Put the correction into scale and shift: gamma * r, and gamma * d + beta."""
        if is_recomputation():
            r, d = self._recalled(statistics)
        else:
            r, d = self._correction(statistics)
        weight, bias = (None if p is None else p.to(r.dtype) for p in (self.weight, self.bias))
        scale, shift = (r, d) if weight is None else (weight * r, weight * d)
        return scale, shift if bias is None else shift + bias

    def _correction(self, statistics: Statistics) -> tuple[Tensor, Tensor]:
        mean, variance = statistics.mean.detach(), statistics.variance.detach()
        assert self.running_mean is not None and self.running_var is not None  # noqa: PT018
        r, d = renorm_correction(mean, variance, self.running_mean, self.running_var, *self.limits(), self.eps)
        if not values_are_hidden():
            self._corrections.append((mean, variance, r, d))
        return r, d

    def _recalled(self, statistics: Statistics) -> tuple[Tensor, Tensor]:
        """Find the correction of the same batch in the forward pass: the running statistics have moved since."""
        for mean, variance, r, d in reversed(self._corrections):
            if statistics.is_of(mean, variance):
                return r, d
        raise ModelError(
            f"a recomputation under checkpointing met a batch that is not among the last {_REMEMBERED} of the layer: "
            "its running statistics of then are not known. Run the backward pass earlier"
        )


def _check_ramp(name: str, ramp: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(ramp, tuple | list) or len(ramp) != 2:
        raise ParameterTypeError(f"{name} must be a pair of numbers of batches, its start and its end; got {ramp!r}")
    start = checks.integer(f"{name}[0]", ramp[0], low=0)
    return start, checks.integer(f"{name}[1]", ramp[1], low=start)
