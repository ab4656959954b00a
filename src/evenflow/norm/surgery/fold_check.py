"""Compare a layer that took a BatchNorm in with the two steps that it replaces, on random data in float64."""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from evenflow.errors import TreatmentError
from evenflow.norm.surgery.neighbours import Neighbours
from evenflow.norm.surgery.trial import Trial, deviation


class FoldCheck:
    """What the two steps compute, to be made before the fold.

    Args:
        pair: The BatchNorm and the layer.
    """

    def __init__(self, pair: Neighbours) -> None:
        self._pair = pair
        self._x = _data(pair.layer)
        norm = deepcopy(pair.norm).double().eval()
        if hasattr(norm, "activation"):
            norm.activation = None  # type: ignore[assignment]  # what takes the place of the layer applies it
        layer = deepcopy(pair.layer).double()
        with torch.no_grad():
            self._expected: Tensor = norm(layer(self._x)) if pair.behind else layer(norm(self._x))

    def compare(self) -> None:
        """Compare with what the layer computes now.

        Raises:
            TreatmentError: They differ by more than the square root of the precision of the weight.
        """
        with torch.no_grad():
            found = deepcopy(self._pair.layer).double()(self._x)
        ((_, apart),) = deviation(Trial({"output": self._expected}), Trial({"output": found}))
        if not apart <= math.sqrt(torch.finfo(self._pair.layer.weight.dtype).eps):
            raise TreatmentError(
                f"a {type(self._pair.layer).__name__} that took a BatchNorm in is off by {apart:.1e} of its size; the "
                "model was left as it was"
            )


def _data(layer: nn.Module) -> Tensor:
    weight: Tensor = layer.weight  # type: ignore[assignment]  # a linear layer has one
    drawn = torch.Generator().manual_seed(0)
    if not isinstance(layer, _ConvNd):
        return torch.randn(4, weight.shape[1], generator=drawn, dtype=torch.float64).to(weight.device)
    space = [_length(layer, dim) for dim in range(len(layer.kernel_size))]
    return torch.randn(2, layer.in_channels, *space, generator=drawn, dtype=torch.float64).to(weight.device)


def _length(layer: _ConvNd, dim: int) -> int:
    """Long enough for the kernel, and for padding that repeats the input."""
    padding = 0 if isinstance(layer.padding, str) else layer.padding[dim]
    return max(layer.dilation[dim] * (layer.kernel_size[dim] - 1) + 1, padding + 1) + 2
