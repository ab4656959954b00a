"""Where the channels are: dimension 1, as everywhere in torch."""

from torch import Tensor


def all_but_channel(x: Tensor) -> list[int]:
    """List the dimensions that a channel's values run over.

    Examples:
        >>> import torch
        >>> all_but_channel(torch.empty(8, 3, 4, 4))
        [0, 2, 3]
    """
    return [0, *range(2, x.dim())]


def beside(x: Tensor, per_channel: Tensor) -> Tensor:
    """Shape a vector with one value a channel so that it broadcasts over `x`.

    Examples:
        >>> import torch
        >>> beside(torch.empty(8, 3, 4, 4), torch.zeros(3)).shape
        torch.Size([1, 3, 1, 1])
    """
    return per_channel.reshape(1, -1, *[1] * (x.dim() - 2))
