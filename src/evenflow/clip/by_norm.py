"""Clipping by the global norm, drop-in for torch.nn.utils."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from evenflow import checks
from evenflow.clip.gradients import (
    Parameters,
    Tensors,
    gradients_in,
    gradients_of,
    plain_number,
)
from evenflow.clip.nonfinite import refuse_nonfinite, zero_nonfinite_
from evenflow.clip.norms import total_norm as norm_of_all
from evenflow.clip.scaling import scale_down_
from evenflow.errors import ParameterTypeError, ParameterValueError

_TORCH_EPSILON = 1e-6


@torch.no_grad()
def clip_grad_norm_(
    parameters: Parameters,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
    *,
    nonfinite: str = "leave",
    torch_exact: bool = False,
) -> Float[Tensor, ""]:
    r"""Scale all gradients together, in place, so that their norm is at most `max_norm`.

    $$
    g \leftarrow g \cdot \min\!\left(1, \frac{\text{max\_norm}}{\|g\|_p}\right)
    $$

    where $\|g\|_p$ is the norm of all gradients as one vector. It is summed in float64 and safe from overflow
    and underflow. Gradients that are within the norm are not written to; a parameter listed twice counts
    once. On a GPU the decision waits for the norm.

    Args:
        parameters: A model, a parameter, or an iterable of parameters or of (name, parameter) pairs. With a
            model or with names, errors name the parameter. Those without a gradient are skipped.
        max_norm: At least 0; infinity measures without clipping.
        norm_type: $p$, positive; infinity is the largest magnitude.
        error_if_nonfinite: Short for `nonfinite="raise"`, as in torch.
        foreach: True uses torch's foreach kernels, False goes tensor by tensor, None takes the faster.
        nonfinite: When the norm is not finite: "leave" changes nothing, and the returned norm says so; "zero"
            sets NaN and infinite entries to 0, clips the rest by its own norm and returns that; "raise" names
            the gradients and changes nothing; "propagate" scales all the same, as torch does, so that one NaN
            makes all gradients NaN.
        torch_exact: Divide by the norm + 1e-6, as torch does, which leaves the clipped norm a little short.

    Returns:
        The norm before clipping, a 0-d tensor on the device of the first gradient, in the widest dtype of the
        gradients but float32 at least; in float64 when a narrower one would turn a finite norm into infinity.

    Raises:
        ParameterValueError: `max_norm` is negative or NaN, or another argument is out of range.
        ParameterTypeError: An argument has the wrong type.
        TensorDtypeError: A gradient is neither floating point nor complex.
        NonFiniteError: The norm is not finite and "raise" was asked for. Nothing was changed.

    Examples:
        >>> p = torch.nn.Parameter(torch.zeros(2))
        >>> p.grad = torch.tensor([3.0, 4.0])
        >>> clip_grad_norm_(p, 1.0)
        tensor(5.)
        >>> p.grad
        tensor([0.6000, 0.8000])

    References:
        Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", Algorithm
        1.
    """
    limit = _limit(max_norm)
    order = _order(norm_type)
    policy = _policy(nonfinite, error_if_nonfinite)
    gradients = gradients_of(parameters)
    tensors = gradients.tensors

    total = norm_of_all(tensors, order, foreach)
    if not math.isfinite(total) and policy == "raise":
        refuse_nonfinite(gradients, order)
    if not math.isfinite(total) and policy == "zero":
        zero_nonfinite_(tensors)
        total = norm_of_all(tensors, order, foreach)
    if math.isfinite(total) or policy == "propagate":
        scale_down_(tensors, limit, total + _TORCH_EPSILON if torch_exact else total, foreach)
    return _as_tensor(total, tensors)


@torch.no_grad()
def clip_grads_with_norm_(
    parameters: Parameters,
    max_norm: float,
    total_norm: Float[Tensor, ""] | float,
    foreach: bool | None = None,
    *,
    torch_exact: bool = False,
) -> None:
    r"""Scale all gradients, in place, by `max_norm / total_norm` when that is below 1.

    The second half of `clip_grad_norm_`, for a norm that is known already. A norm that is not finite changes
    nothing.

    Args:
        parameters: As in `clip_grad_norm_`.
        max_norm: At least 0; infinity clips nothing.
        total_norm: The norm of all gradients, a 0-d tensor or a number, not negative.
        foreach: As in `clip_grad_norm_`.
        torch_exact: As in `clip_grad_norm_`.

    Raises:
        ParameterValueError: `max_norm` is negative or NaN, or `total_norm` is negative.
        ParameterTypeError: An argument has the wrong type.
        TensorDtypeError: A gradient is neither floating point nor complex.

    Examples:
        >>> p = torch.nn.Parameter(torch.zeros(2))
        >>> p.grad = torch.tensor([3.0, 4.0])
        >>> clip_grads_with_norm_(p, 1.0, torch.tensor(5.0))
        >>> p.grad
        tensor([0.6000, 0.8000])
    """
    limit = _limit(max_norm)
    total = plain_number(total_norm)
    if not isinstance(total, int | float):
        raise ParameterTypeError(f"total_norm must be a tensor with one value; got {total_norm!r}")
    if total < 0:
        raise ParameterValueError(f"total_norm must be at least 0; got {total}")
    tensors = gradients_of(parameters).tensors
    if math.isfinite(total):
        scale_down_(tensors, limit, total + _TORCH_EPSILON if torch_exact else total, foreach)


@torch.no_grad()
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Float[Tensor, ""]:
    r"""Compute the norm of all tensors as one vector, $\bigl(\sum_i |x_i|^p\bigr)^{1/p}$.

    It is summed in float64 and safe from overflow and underflow.

    Args:
        tensors: A tensor, or an iterable of tensors or of (name, tensor) pairs: the gradients, not the
            parameters.
        norm_type: $p$, positive; infinity is the largest magnitude.
        error_if_nonfinite: Whether to raise when the norm is not finite.
        foreach: True uses torch's foreach kernels, False goes tensor by tensor, None takes the faster.

    Returns:
        The norm, a tensor as from `clip_grad_norm_`; 0 for no tensors.

    Raises:
        ParameterValueError: `norm_type` is not positive.
        ParameterTypeError: An argument has the wrong type.
        TensorDtypeError: A tensor is neither floating point nor complex.
        NonFiniteError: The norm is not finite and `error_if_nonfinite` is true.

    Examples:
        >>> get_total_norm([torch.full((9,), 1e20), torch.full((16,), 1e20)])
        tensor(5.0000e+20)
    """
    order = _order(norm_type)
    gradients = gradients_in(tensors)
    total = norm_of_all(gradients.tensors, order, foreach)
    if error_if_nonfinite and not math.isfinite(total):
        refuse_nonfinite(gradients, order)
    return _as_tensor(total, gradients.tensors)


def _as_tensor(total: float, tensors: Sequence[Tensor]) -> Tensor:
    if not tensors:
        return torch.tensor(0.0)
    dtype = torch.float32
    for narrow in {tensor.dtype for tensor in tensors}:
        dtype = torch.promote_types(dtype, narrow.to_real())
    if math.isfinite(total) and total > torch.finfo(dtype).max:
        dtype = torch.float64
    return torch.tensor(total, dtype=dtype, device=tensors[0].device)


def _limit(max_norm: object) -> float:
    return checks.real("max_norm", plain_number(max_norm), low=0, infinite=True)


def _order(norm_type: object) -> float:
    number = math.inf if norm_type == "inf" else plain_number(norm_type)
    return checks.real("norm_type", number, low=0, open_low=True, infinite=True)


def _policy(nonfinite: str, error_if_nonfinite: bool) -> str:
    checks.choice("nonfinite", nonfinite, ["leave", "zero", "raise", "propagate"])
    if error_if_nonfinite and nonfinite not in {"leave", "raise"}:
        raise ParameterValueError(f"error_if_nonfinite=True contradicts nonfinite={nonfinite!r}; pass only one of them")
    return "raise" if error_if_nonfinite else nonfinite
