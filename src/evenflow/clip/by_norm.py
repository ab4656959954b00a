"""Clipping by the global norm, drop-in for torch.nn.utils."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from evenflow import checks
from evenflow.clip.gradients import Gradients, Parameters, Tensors, gradients_in, gradients_of, plain_number
from evenflow.clip.nonfinite import drop_gradients_, refuse_nonfinite, zero_nonfinite_
from evenflow.clip.norms import total_norm as norm_of_all
from evenflow.clip.scaling import scale_down_
from evenflow.clip.sharded import is_sharded
from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.uncompiled import uncompiled

_TORCH_EPSILON = 1e-6


@uncompiled
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
    once. On a GPU the decision waits for the norm. On a CPU many or large gradients are read by one compiled
    loop, which the first such call takes half a second to load.

    Gradients that are spread over processes (DTensor) are clipped by the norm of the whole, which every process has to
    ask for. Gradients that every process holds whole, as under DistributedDataParallel, count once.

    Args:
        parameters: A model, a parameter, or an iterable of parameters or of (name, parameter) pairs. With a
            model or with names, errors name the parameter. Those without a gradient are skipped.
        max_norm: At least 0; infinity measures without clipping.
        norm_type: $p$, positive; infinity is the largest magnitude.
        error_if_nonfinite: Short for `nonfinite="raise"`, as in torch.
        foreach: Many or large gradients on a CPU are one call to a compiled loop, whatever this is. For the
            others True uses torch's foreach kernels, False goes tensor by tensor, and None takes the faster.
        nonfinite: When the norm is not finite: "leave" changes nothing, and the returned norm says so; "zero"
            sets NaN and infinite entries to 0, clips the rest by its own norm and returns that; "skip" sets every
            `.grad` to None, so that the optimizer's next step does nothing; "raise" names the gradients and changes
            nothing; "propagate" scales all the same, as torch does, so that one NaN makes all gradients NaN.
        torch_exact: Divide by the norm + 1e-6, as torch does, which leaves the clipped norm a little short.

    Returns:
        The norm before clipping, a 0-d tensor on the device of the first gradient, in the widest dtype of the
        gradients but float32 at least; in float64 when a narrower one would turn a finite norm into infinity. A
        DTensor that is whole in every process when the first gradient is one.

    Raises:
        ParameterValueError: `max_norm` is negative or NaN, or another argument is out of range.
        ParameterTypeError: An argument has the wrong type.
        TensorDtypeError: A gradient is neither floating point nor complex.
        NonFiniteError: The norm is not finite and "raise" was asked for. Nothing was changed.
        ShardingError: The model is wrapped in FullyShardedDataParallel, whose pieces do not tell where they belong.

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
    limit = as_limit(max_norm)
    order = as_order(norm_type)
    policy = as_policy(nonfinite, error_if_nonfinite)
    gradients = gradients_of(parameters)
    total = norm_of_all(gradients, order, foreach)
    if not math.isfinite(total) and policy == "raise":
        refuse_nonfinite(gradients, order)
    if not math.isfinite(total) and policy == "skip":
        drop_gradients_(gradients.listed)
    if not math.isfinite(total) and policy == "zero":
        zero_nonfinite_(gradients)
        total = norm_of_all(gradients, order, foreach)
    if math.isfinite(total) or policy == "propagate":
        scale_down_(gradients, limit, total + _TORCH_EPSILON if torch_exact else total, foreach)
    return as_tensor(total, gradients)


@uncompiled
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
    limit = as_limit(max_norm)
    total = plain_number(total_norm)
    if not isinstance(total, int | float):
        raise ParameterTypeError(f"total_norm must be a tensor with one value; got {total_norm!r}")
    if total < 0:
        raise ParameterValueError(f"total_norm must be at least 0; got {total}")
    gradients = gradients_of(parameters)
    if math.isfinite(total):
        scale_down_(gradients, limit, total + _TORCH_EPSILON if torch_exact else total, foreach)


@uncompiled
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
        foreach: False goes tensor by tensor. Otherwise many or large gradients on a CPU are one call, and True
            uses torch's foreach kernels for the others, where None takes the faster.

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
    order = as_order(norm_type)
    gradients = gradients_in(tensors)
    total = norm_of_all(gradients, order, foreach)
    if error_if_nonfinite and not math.isfinite(total):
        refuse_nonfinite(gradients, order)
    return as_tensor(total, gradients)


def as_tensor(total: float, gradients: Gradients) -> Tensor:
    """Return a norm as torch does: see `clip_grad_norm_`."""
    if not gradients.tensors:
        return torch.tensor(0.0)
    dtype = torch.float32
    for narrow, _ in gradients.looks:
        dtype = torch.promote_types(dtype, narrow.to_real())
    if math.isfinite(total) and total > torch.finfo(dtype).max:
        dtype = torch.float64
    first = gradients.tensors[0]
    norm = torch.tensor(total, dtype=dtype, device=gradients.here[0].device)
    if not is_sharded(first):
        return norm
    from torch.distributed.tensor import DTensor, Replicate

    return DTensor.from_local(norm, first.device_mesh, [Replicate()] * first.device_mesh.ndim, run_check=False)


def as_limit(max_norm: object) -> float:
    """Return `max_norm` if it is a number of at least 0."""
    return checks.real("max_norm", plain_number(max_norm), low=0, infinite=True)


def as_order(norm_type: object) -> float:
    """Return `norm_type` if it is the order of a norm."""
    number = math.inf if norm_type == "inf" else plain_number(norm_type)
    return checks.real("norm_type", number, low=0, open_low=True, infinite=True)


def as_policy(nonfinite: str, error_if_nonfinite: bool) -> str:
    """Return what to do about a norm that is not finite."""
    checks.choice("nonfinite", nonfinite, ["leave", "zero", "skip", "raise", "propagate"])
    if error_if_nonfinite and nonfinite not in {"leave", "raise"}:
        raise ParameterValueError(f"error_if_nonfinite=True contradicts nonfinite={nonfinite!r}; pass only one of them")
    return "raise" if error_if_nonfinite else nonfinite
