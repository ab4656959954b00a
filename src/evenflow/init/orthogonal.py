"""Orthogonal weights: a layer that keeps every length, not only the average one."""

import torch
from jaxtyping import Inexact
from torch import Tensor

from evenflow import checks
from evenflow.errors import ParameterValueError, TensorShapeError
from evenflow.init.haar import haar
from evenflow.init.identity import centre
from evenflow.init.serial import one_thread_each
from evenflow.init.sharded import by_whole, put
from evenflow.init.source import as_stream, check_source
from evenflow.init.tensors import drawable, of_dimensions
from evenflow.random import Stream


@torch.no_grad()
def orthogonal_(
    tensor: Inexact[Tensor, "..."],
    gain: float = 1,
    generator: torch.Generator | None = None,
    *,
    blocks: int = 1,
    stream: Stream | None = None,
) -> Tensor:
    r"""Fill a weight with a random (semi-)orthogonal matrix, in place.

    $$ W = \text{gain}\; Q, \quad Q^\top Q = I \text{ (rows} \ge \text{columns) or } Q Q^\top = I $$

    with $Q$ uniform over all such matrices (Haar's measure), unitary for complex tensors. Dimensions after the first
    are flattened. The matrix is made on the CPU, in double precision for float64 and complex128 and in single for all
    others: neither the device nor the number of threads changes a bit. Another processor, or another library of matrix
    products, may change the last ones.

    Args:
        tensor: A weight of two or more dimensions, floating-point or complex.
        gain: Factor on the matrix.
        generator: Where the key of the draws comes from; None is torch's default generator.
        blocks: Number of equal parts of dimension 0, each of which becomes a matrix of its own: the gates of a
            recurrent layer's weight (4 of an LSTM, 3 of a GRU), or the groups of a convolution.
        stream: The addressed stream to draw from, in place of a generator.

    Returns:
        The same tensor.

    Raises:
        TensorShapeError: The tensor has fewer than two dimensions.
        TensorDtypeError: The tensor is neither floating-point nor complex.
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `gain` is NaN or infinite, `blocks` does not divide dimension 0, or generator and stream
            are both given.

    Examples:
        >>> weight = orthogonal_(torch.empty(2, 3, dtype=torch.float64))
        >>> bool(torch.allclose(weight @ weight.T, torch.eye(2, dtype=torch.float64)))
        True

    References:
        Drop-in for `torch.nn.init.orthogonal_`, which refuses bfloat16, half and complex tensors. Saxe et al.
        2014, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", section
        3.
    """
    parts = orthogonal_parts(tensor, blocks)
    factor = checks.real("gain", gain)
    check_source(generator, stream)
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    matrix = haar(rows, tensor.numel() // rows, tensor.dtype, as_stream(generator, stream), parts)
    # In a forked process, torch's own threads would never answer.
    with one_thread_each():
        return put(tensor, matrix.mul_(factor).reshape(tensor.shape))


@torch.no_grad()
def delta_orthogonal_(
    tensor: Inexact[Tensor, "out in *kernel"],
    gain: float = 1.0,
    *,
    blocks: int = 1,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
) -> Tensor:
    r"""Fill a convolution's weight with zeros around an orthogonal matrix at the kernel's middle, in place.

    $$ W_{:,:,\lfloor k/2 \rfloor} = \text{gain}\; Q, \quad Q^\top Q = I, \quad \text{all others } 0 $$

    A convolution with stride 1 and padding k // 2 then keeps the length of the signal at every place, and
    plain networks of thousands of layers can be trained.

    Args:
        tensor: The weight of a convolution over one to three dimensions, with at least as many outputs as
            inputs, in each group.
        gain: Factor on the matrix.
        blocks: Number of equal parts of dimension 0 with a matrix each: the convolution's groups.
        generator: Where the key of the draws comes from; None is torch's default generator.
        stream: The addressed stream to draw from, in place of a generator.

    Returns:
        The same tensor.

    Raises:
        TensorShapeError: The tensor has not three to five dimensions, or fewer outputs than inputs.
        TensorDtypeError: The tensor is neither floating-point nor complex.
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `gain` is NaN or infinite, `blocks` does not divide dimension 0, or generator and stream
            are both given.

    Examples:
        >>> weight = delta_orthogonal_(torch.empty(4, 2, 3, 3))
        >>> int(weight.count_nonzero())
        8

    References:
        Xiao et al. 2018, "Dynamical isometry and a mean field theory of CNNs", algorithm 1.
    """
    parts = delta_orthogonal_parts(tensor, blocks)
    factor = checks.real("gain", gain)
    check_source(generator, stream)
    if tensor.numel() == 0:
        return tensor
    outputs, inputs = tensor.shape[:2]
    matrix = haar(outputs, inputs, tensor.dtype, as_stream(generator, stream), parts)
    with one_thread_each():
        return by_whole(tensor, lambda whole: centre(whole.zero_()).copy_(matrix.mul_(factor)))


def orthogonal_parts(tensor: Tensor, blocks: int) -> int:
    """Return the number of matrices that a tensor can hold, if it can.

    Raises:
        EvenflowError: What `orthogonal_` raises for such a tensor and such a number.
    """
    of_dimensions(drawable(tensor), 2, None, "orthogonal_")
    return _parts(blocks, tensor)


def delta_orthogonal_parts(tensor: Tensor, blocks: int) -> int:
    """Return the number of matrices that a kernel can hold at its middle, if it can.

    Raises:
        EvenflowError: What `delta_orthogonal_` raises for such a tensor and such a number.
    """
    of_dimensions(drawable(tensor), 3, 5, "delta_orthogonal_")
    parts = _parts(blocks, tensor)
    outputs, inputs = tensor.shape[:2]
    if outputs // parts < inputs:
        raise TensorShapeError(
            "delta_orthogonal_ needs at least as many output channels as input channels, so that lengths can "
            f"be kept; got {outputs // parts} outputs and {inputs} inputs: use orthogonal_"
        )
    return parts


def _parts(blocks: int, tensor: Tensor) -> int:
    parts = checks.integer("blocks", blocks, low=1)
    if tensor.shape[0] % parts:
        raise ParameterValueError(f"blocks must divide the {tensor.shape[0]} rows of the weight; got {blocks}")
    return parts
