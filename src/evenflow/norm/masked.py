"""`MaskedBatchNorm`: batch normalisation of padded sequences."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from evenflow.errors import TensorDtypeError, TensorShapeError
from evenflow.norm.modules import EvenBatchNorm


class MaskedBatchNorm(EvenBatchNorm):
    r"""Batch normalisation in which padding has no part.

    With $v_i \in \{0, 1\}$, whether position $i$ is valid, and $m = \sum_i v_i$ for each channel:

    $$
    \mu = \tfrac1m \sum_i v_i x_i, \qquad \sigma^2 = \tfrac1m \sum_i v_i (x_i - \mu)^2, \qquad
    y_i = v_i\, f\!\left( \gamma \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta \right)
    $$

    The valid positions get what `BatchNorm1d` gives to a batch of them alone; padding is 0 in the output and gets no
    gradient, and what stands there in the input, NaN included, has no influence. A batch that is all padding changes
    nothing. A batch with one valid position is rejected in training, as by the other layers.

    Args:
        num_features: Number of channels, the size of dimension 1. For all others see `EvenBatchNorm`.

    Examples:
        >>> x = torch.tensor([[[1.0, 3.0, 77.0]]])
        >>> MaskedBatchNorm(1)(x, torch.tensor([[True, True, False]])).detach()
        tensor([[[-1.0000,  1.0000,  0.0000]]])
    """

    def forward(  # type: ignore[override]  # the mask comes second, as everywhere
        self,
        input: Float[Tensor, "batch channel *space"],  # noqa: A002 - torch's name
        mask: Bool[Tensor, "batch *space"] | None = None,  # noqa: F821 - a shape, no product
        residual: Float[Tensor, "batch channel *space"] | None = None,
    ) -> Float[Tensor, "batch channel *space"]:
        """Normalise the valid positions and, in training, move the running statistics by them.

        Args:
            input: The batch, (N, C, L) for sequences; any number of dimensions after the channels.
            mask: True where a position is valid, (N, L); of the shape of `input` without its channels. None: all
                are.
            residual: Added to the normalised batch, before the activation; of the shape of `input`.

        Returns:
            The output, in the shape, dtype and memory format of `input`; 0 where `mask` is False.

        Raises:
            TensorShapeError: The batch or the mask does not fit, or there is one valid position in training.
            TensorDtypeError: The batch is not real floating point, or the mask not bool.
            NonFiniteError: The batch statistics are not finite and `on_nonfinite` is "raise".
        """
        if mask is None:
            return super().forward(input, residual)
        self._check_input_dim(input)
        _check_mask(mask, input)
        valid = mask.unsqueeze(1)
        # Not masked_fill, which loses channels-last memory.
        filled = torch.where(valid, input, 0)
        return torch.where(valid, self._run(filled, residual, valid), 0)


def _check_mask(mask: Tensor, x: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise TensorDtypeError(
            f"mask must be bool, True where a position is valid; got {mask.dtype}. Compare first, as with mask != 0"
        )
    wanted = (x.shape[0], *x.shape[2:])
    if mask.shape != wanted:
        raise TensorShapeError(
            f"mask must have the shape of input without its channels, {wanted}; got {tuple(mask.shape)}"
        )
