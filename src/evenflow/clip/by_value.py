"""Clipping entry by entry, drop-in for torch.nn.utils."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from evenflow import checks
from evenflow.clip.gradients import Gradients, Parameters, gradients_of, plain_number, values_to_write
from evenflow.clip.nonfinite import refuse_nonfinite
from evenflow.clip.norms import flat_magnitudes, largest_magnitudes
from evenflow.errors import TensorDtypeError


@torch.no_grad()
def clip_grad_value_(
    parameters: Parameters,
    clip_value: float,
    foreach: bool | None = None,
    *,
    nonfinite: str = "zero",
) -> None:
    r"""Bring every entry of every gradient into $[-c, c]$, in place.

    $$
    g_i \leftarrow \min(\max(g_i, -c), c)
    $$

    Gradients that are within the interval are not written to; a parameter listed twice counts once.

    An infinite entry has a sign and is clamped like any large number. NaN has none. By default it becomes 0,
    the only value that moves the parameter in no direction: it is what keeps the promise of the interval
    without stopping the training, and the other entries, unlike under a norm, do not depend on it.

    Args:
        parameters: A model, a parameter, or an iterable of parameters or of (name, parameter) pairs. With a
            model or with names, errors name the parameter. Those without a gradient are skipped.
        clip_value: $c$, at least 0.
        foreach: True uses torch's foreach kernels, False goes tensor by tensor, None takes the faster.
        nonfinite: "zero" sets NaN to 0; "leave" changes no gradient at all when there is a NaN; "raise" names
            the gradients that hold NaN or infinity and changes nothing; "propagate" lets NaN pass, as torch
            does.

    Raises:
        ParameterValueError: `clip_value` is negative or NaN, or `nonfinite` is another word.
        ParameterTypeError: An argument has the wrong type.
        TensorDtypeError: A gradient is complex: there is no order to clip by. Use `clip_grad_norm_`.
        NonFiniteError: A gradient is not finite and `nonfinite` is "raise". Nothing was changed.

    Examples:
        >>> p = torch.nn.Parameter(torch.zeros(4))
        >>> p.grad = torch.tensor([0.5, -7.0, torch.inf, torch.nan])
        >>> clip_grad_value_(p, 1.0)
        >>> p.grad
        tensor([ 0.5000, -1.0000,  1.0000,  0.0000])

    References:
        Mikolov 2012, "Statistical Language Models Based on Neural Networks", section 3.2.2.
    """
    limit = checks.real("clip_value", plain_number(clip_value), low=0, infinite=True)
    checks.choice("nonfinite", nonfinite, ["zero", "leave", "raise", "propagate"])
    gradients = gradients_of(parameters)
    _refuse_complex(gradients)

    vectors = [flat_magnitudes(tensor, math.inf) for tensor in gradients.tensors]
    largest = largest_magnitudes(vectors, foreach)
    if nonfinite == "raise" and not all(map(math.isfinite, largest)):
        refuse_nonfinite(gradients, math.inf)
    if nonfinite == "leave" and any(map(math.isnan, largest)):
        return
    outside = [t for t, size in zip(gradients.tensors, largest, strict=True) if not size <= limit]
    _clamp_(outside, limit, foreach, zero_nan=nonfinite == "zero")


def _refuse_complex(gradients: Gradients) -> None:
    for tensor in gradients.tensors:
        if tensor.is_complex():
            raise TensorDtypeError(
                f"{gradients.label(tensor)} is complex, and complex numbers have no order to clip by; "
                "use clip_grad_norm_"
            )


def _clamp_(tensors: Sequence[Tensor], limit: float, foreach: bool | None, *, zero_nan: bool) -> None:
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_dtype.setdefault(tensor.dtype, []).append(_merged_values(tensor))
    for dtype, values in by_dtype.items():
        if zero_nan:
            for value in values:
                value.nan_to_num_(nan=0.0, posinf=math.inf, neginf=-math.inf)
        _clamp_values_(values, _bound(limit, dtype), foreach)


def _clamp_values_(values: list[Tensor], bound: float, foreach: bool | None) -> None:
    if foreach:
        torch._foreach_clamp_min_(values, -bound)
        torch._foreach_clamp_max_(values, bound)
    else:
        for value in values:
            value.clamp_(-bound, bound)


def _bound(limit: float, dtype: torch.dtype) -> float:
    """Bring the limit into the range of the type: torch's clamp raises for a finite one beyond it."""
    return limit if math.isinf(limit) else min(limit, torch.finfo(dtype).max)


def _merged_values(tensor: Tensor) -> Tensor:
    """Return the stored numbers for writing; duplicates in a sparse tensor are added up in place first."""
    if tensor.layout == torch.sparse_coo and not tensor.is_coalesced():
        tensor.copy_(tensor.coalesce())
    return values_to_write(tensor)
