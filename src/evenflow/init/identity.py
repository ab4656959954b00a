"""Weights that pass their input on unchanged."""

import torch
from jaxtyping import Shaped
from torch import Tensor

from evenflow import checks
from evenflow.errors import ParameterValueError
from evenflow.init.sharded import by_whole
from evenflow.init.tensors import of_dimensions, writable


@torch.no_grad()
def eye_(tensor: Shaped[Tensor, "rows columns"]) -> Tensor:
    r"""Fill a matrix with the identity, in place; of a rectangular one, as many inputs as possible pass.

    $$ w_{ij} = \delta_{ij} $$

    Args:
        tensor: A matrix.

    Returns:
        The same tensor.

    Raises:
        TensorShapeError: The tensor has not two dimensions.
        SharedMemoryError: Elements of the tensor share memory.

    Examples:
        >>> eye_(torch.empty(2, 3))
        tensor([[1., 0., 0.],
                [0., 1., 0.]])

    References:
        Drop-in for `torch.nn.init.eye_`. Le et al. 2015, "A simple way to initialize recurrent networks of
        rectified linear units", uses it for the recurrent weights.
    """
    writable(tensor)
    of_dimensions(tensor, 2, 2, "eye_")
    return by_whole(tensor, lambda whole: whole.zero_().diagonal().fill_(1))


@torch.no_grad()
def dirac_(tensor: Shaped[Tensor, "out in *kernel"], groups: int = 1) -> Tensor:
    r"""Fill a convolution's weight with Dirac's delta, in place; as many channels as possible pass.

    $$ w_{g n + i,\, i,\, \lfloor k/2 \rfloor} = 1, \quad n = out / groups, \quad \text{all others } 0 $$

    in each group $g$.

    Args:
        tensor: The weight of a convolution over one to three dimensions.
        groups: The convolution's number of groups, a divisor of its output channels.

    Returns:
        The same tensor.

    Raises:
        TensorShapeError: The tensor has not three to five dimensions.
        ParameterTypeError: `groups` is no integer.
        ParameterValueError: `groups` is below 1 or does not divide the output channels.
        SharedMemoryError: Elements of the tensor share memory.

    Examples:
        >>> dirac_(torch.empty(2, 2, 3))
        tensor([[[0., 1., 0.],
                 [0., 0., 0.]],
        <BLANKLINE>
                [[0., 0., 0.],
                 [0., 1., 0.]]])

    References:
        Drop-in for `torch.nn.init.dirac_`. Zagoruyko & Komodakis 2017, "DiracNets".
    """
    writable(tensor)
    of_dimensions(tensor, 3, 5, "dirac_")
    parts = checks.integer("groups", groups, low=1)
    if tensor.shape[0] % parts:
        raise ParameterValueError(f"groups must divide the {tensor.shape[0]} output channels; got {groups!r}")
    return by_whole(tensor, lambda whole: _set_diagonals(whole.zero_(), parts))


def _set_diagonals(weight: Tensor, groups: int) -> None:
    if weight.numel():
        for group in weight.chunk(groups):
            centre(group).diagonal().fill_(1)


def centre(weight: Tensor) -> Tensor:
    """Return the view (out, in) of a convolution's weight at the middle of its kernel, index k // 2."""
    for size in weight.shape[2:]:
        weight = weight.select(2, size // 2)
    return weight
