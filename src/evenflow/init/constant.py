"""Every element the same: zero, one, or another constant."""

import math
from numbers import Number

import torch
from jaxtyping import Shaped
from torch import Tensor

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.init.sharded import own
from evenflow.init.tensors import writable


def zeros_(tensor: Shaped[Tensor, "..."]) -> Tensor:
    r"""Fill the tensor with zeros, in place.

    $$ w_i = 0 $$

    Right for biases. For weights, all units of a layer compute and learn the same; with all layers zero,
    nothing but the last bias moves.

    Args:
        tensor: Any tensor.

    Returns:
        The same tensor.

    Raises:
        SharedMemoryError: Elements of the tensor share memory.

    Examples:
        >>> zeros_(torch.empty(2, 3))
        tensor([[0., 0., 0.],
                [0., 0., 0.]])

    References:
        Drop-in for `torch.nn.init.zeros_`.
    """
    return constant_(tensor, 0.0)


def ones_(tensor: Shaped[Tensor, "..."]) -> Tensor:
    r"""Fill the tensor with ones, in place.

    $$ w_i = 1 $$

    Args:
        tensor: Any tensor.

    Returns:
        The same tensor.

    Raises:
        SharedMemoryError: Elements of the tensor share memory.

    Examples:
        >>> ones_(torch.empty(3))
        tensor([1., 1., 1.])

    References:
        Drop-in for `torch.nn.init.ones_`.
    """
    return constant_(tensor, 1.0)


@torch.no_grad()
def constant_(tensor: Shaped[Tensor, "..."], val: float) -> Tensor:
    r"""Fill the tensor with one value, in place.

    $$ w_i = val $$

    Args:
        tensor: Any tensor.
        val: A finite number that the tensor's dtype can hold: complex only for complex tensors, whole for
            integer ones.

    Returns:
        The same tensor.

    Raises:
        ParameterTypeError: `val` is no number.
        ParameterValueError: `val` is NaN or infinite, or the dtype cannot hold it.
        SharedMemoryError: Elements of the tensor share memory.

    Examples:
        >>> constant_(torch.empty(3), 0.5)
        tensor([0.5000, 0.5000, 0.5000])

    References:
        Drop-in for `torch.nn.init.constant_`, which lets NaN pass and cuts 0.5 to 0 in an integer tensor.
    """
    number = held(writable(tensor).dtype, val)
    own(tensor).fill_(number if tensor.is_complex() else number.real)
    return tensor


def held(dtype: torch.dtype, val: object) -> complex:
    """Return a value as a number if it is finite and the dtype can hold it.

    Raises:
        ParameterTypeError: It is no number.
        ParameterValueError: It is NaN or infinite, or the dtype cannot hold it.
    """
    if not isinstance(val, Number):
        raise ParameterTypeError(f"val must be a finite number; got {val!r}")
    number: complex = complex(val)  # type: ignore[call-overload]  # every number converts
    if not (math.isfinite(number.real) and math.isfinite(number.imag)):
        raise ParameterValueError(f"val must be a finite number; got {val!r}")
    if not _holds(dtype, number):
        raise ParameterValueError(f"val must be a number that {dtype} can hold; got {val!r}")
    return number


def _holds(dtype: torch.dtype, number: complex) -> bool:
    """Whether the dtype has a number near this one: rounding is allowed, overflow and truncation are not."""
    if dtype.is_complex:
        return max(abs(number.real), abs(number.imag)) <= torch.finfo(dtype).max
    if number.imag:
        return False
    if dtype.is_floating_point:
        return abs(number.real) <= torch.finfo(dtype).max
    if dtype == torch.bool:
        return number.real in (0.0, 1.0)
    limits = torch.iinfo(dtype)
    return number.real.is_integer() and limits.min <= number.real <= limits.max
