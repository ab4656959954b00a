"""Sparse weights: each unit listens to few others."""

import math

import numpy as np
import torch
from jaxtyping import Inexact
from numpy.typing import NDArray
from torch import Tensor

from evenflow import checks
from evenflow.init.fill import fill_normal
from evenflow.init.sharded import own, own_part
from evenflow.init.source import as_stream, check_source
from evenflow.init.tensors import drawable, of_dimensions
from evenflow.random import Stream


@torch.no_grad()
def sparse_(
    tensor: Inexact[Tensor, "rows columns"],
    sparsity: float,
    std: float = 0.01,
    generator: torch.Generator | None = None,
    *,
    stream: Stream | None = None,
) -> Tensor:
    r"""Fill a matrix with normal draws and set a share of each column to zero, in place.

    $$
    w_{ij} = 0 \text{ for } \lceil \text{sparsity} \cdot rows \rceil \text{ random rows of each column}, \quad
    \text{otherwise } w_{ij} \sim N(0, std^2)
    $$

    The draws are the first elements of the stream; the rows of a column are those of its smallest words in
    the matrix of words that follows, from the next multiple of four on.

    Args:
        tensor: A matrix, floating-point or complex.
        sparsity: Share of zeros in each column, in [0, 1].
        std: Standard deviation of the others, at least 0.
        generator: Where the key of the draws and of the pattern comes from; None is torch's default
            generator.
        stream: The addressed stream to draw from, in place of a generator.

    Returns:
        The same tensor.

    Raises:
        TensorShapeError: The tensor has not two dimensions.
        TensorDtypeError: The tensor is neither floating-point nor complex.
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `sparsity` or `std` is out of range, or generator and stream are both given.

    Examples:
        >>> weight = sparse_(torch.empty(10, 3), sparsity=0.25)
        >>> (weight == 0).sum(dim=0).tolist()
        [3, 3, 3]

    References:
        Drop-in for `torch.nn.init.sparse_`, whose pattern ignores the generator. Martens 2010, "Deep learning
        via Hessian-free optimization", section 5.
    """
    drawable(tensor)
    of_dimensions(tensor, 2, 2, "sparse_")
    share, scale = checks.real("sparsity", sparsity, low=0, high=1), checks.real("std", std, low=0)
    check_source(generator, stream)
    if tensor.numel() == 0:
        return tensor
    source = as_stream(generator, stream)
    fill_normal(tensor, 0.0, scale, generator=None, stream=source)
    drawn = tensor.numel() * (2 if tensor.is_complex() else 1)
    words = source.words(-(-drawn // 4) * 4, tensor.numel()).reshape(tensor.shape)
    zeros = _smallest(words, math.ceil(share * tensor.shape[0]))
    here = own(tensor)
    if here.numel():
        here.masked_fill_(torch.from_numpy(own_part(tensor, zeros)).to(here.device), 0)
    return tensor


def _smallest(words: NDArray[np.uint32], count: int) -> NDArray[np.bool_]:
    """Mark the `count` smallest words of each column; of equal ones, the upper first."""
    mask = np.zeros(words.shape, dtype=np.bool_)
    rows = np.argsort(words, axis=0, kind="stable")[:count]
    np.put_along_axis(mask, rows, True, axis=0)
    return mask
