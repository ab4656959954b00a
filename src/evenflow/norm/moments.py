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
        variance: The unbiased one, divided by `count - 1`: the one that goes into the running statistics.
        count: Values per channel. At 0 the moments mean nothing.
    """

    mean: Float[Tensor, " channel"]
    variance: Float[Tensor, " channel"]
    count: int

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

    def update_(self, running: Tensor, new: Tensor, momentum: float, accept: Tensor | None = None) -> None:
        r"""Move a running statistic in place: $r \leftarrow (1 - \alpha)\,r + \alpha\,v$.

        The step is computed in the dtype of the moments and then rounded to that of the buffer.

        Args:
            running: The buffer $r$.
            new: $v$, this object's `mean` or `variance`.
            momentum: $\alpha$, torch's: the weight of the new value.
            accept: A 0-d bool; where it is false the buffer stays. A tensor, so that no device has to wait.
        """
        if accept is None and running.dtype == new.dtype:
            running.lerp_(new, momentum)
            return
        moved = torch.lerp(running.to(new.dtype), new, momentum)
        if accept is not None:
            moved = torch.where(accept, moved, running.to(new.dtype))
        running.copy_(moved)
