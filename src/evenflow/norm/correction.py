"""The correction of batch renormalisation, as an operator.

Compiled code may compute anything again in its backward pass, here from buffers that have moved since; an operator only
where checkpointing demands it, and then this one refuses.
"""

from typing import Any

import torch
from torch import Tensor, library

from evenflow.errors import ModelError
from evenflow.norm.tracing import is_recomputation


@library.custom_op("evenflow::renorm_correction", mutates_args=())
def renorm_correction(
    mean: Tensor, variance: Tensor, running_mean: Tensor, running_var: Tensor, r_max: Tensor, d_max: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    r"""Return $r$ and $d$ of Ioffe 2017, Algorithm 1, one a channel; no gradient flows through them.

    Args:
        mean: Of the batch.
        variance: Of the batch, biased.
        running_mean: As it is before this batch.
        running_var: As it is before this batch.
        r_max: 0-d; $r$ is clipped to [1 / r_max, r_max].
        d_max: 0-d; $d$ is clipped to [-d_max, d_max].
        eps: Added to both variances.

    Returns:
        $r$ and $d$, in the dtype of `mean`.

    Raises:
        ModelError: Compiled code computes it again under checkpointing.
    """
    if is_recomputation():
        raise ModelError(
            "BatchRenorm was compiled and is computed again by gradient checkpointing, after its running statistics "
            "have moved: gradients would be wrong. Do not compile it, or do not checkpoint it"
        )
    r_max, d_max = r_max.to(mean.dtype).unsqueeze(-1), d_max.to(mean.dtype).unsqueeze(-1)
    std = torch.sqrt(running_var.to(mean.dtype) + eps)
    r = (torch.sqrt(variance + eps) / std).clamp(1 / r_max, r_max)
    d = ((mean - running_mean.to(mean.dtype)) / std).clamp(-d_max, d_max)
    return r, d


@renorm_correction.register_fake
def _(mean: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return torch.empty_like(mean), torch.empty_like(mean)


@renorm_correction.register_vmap
def _(_: Any, dims: tuple[int | None, ...], *arguments: Any) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    """Channels are last and everything is elementwise, so a dimension in front is all that it takes."""
    *tensors, eps = arguments
    front = [tensor if dim is None else tensor.movedim(dim, 0) for tensor, dim in zip(tensors, dims[:-1], strict=True)]
    size = next(len(tensor) for tensor, dim in zip(front, dims[:-1], strict=True) if dim is not None)
    whole = [
        tensor.expand(size, *tensor.shape) if dim is None else tensor
        for tensor, dim in zip(front, dims[:-1], strict=True)
    ]
    return renorm_correction(*whole, eps), (0, 0)
