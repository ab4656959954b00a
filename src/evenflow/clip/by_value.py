"""Clipping entry by entry, drop-in for torch.nn.utils."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from evenflow import checks
from evenflow.clip.gradients import Gradients, Parameters, gradients_of, merged_values, plain_number
from evenflow.clip.nonfinite import drop_gradients_, refuse_nonfinite
from evenflow.clip.norms import Norms, norms
from evenflow.clip.scaling import mark_written
from evenflow.clip.sharded import require_summed
from evenflow.errors import TensorDtypeError
from evenflow.uncompiled import uncompiled


@uncompiled
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
        foreach: As in `clip_grad_norm_`.
        nonfinite: "zero" sets NaN to 0; "leave" changes no gradient at all when there is a NaN; "skip" sets every
            `.grad` to None when there is one, so that the optimizer's next step does nothing; "raise" names the
            gradients that hold NaN or infinity and changes nothing; "propagate" lets NaN pass, as torch does.

    Raises:
        ParameterValueError: `clip_value` is negative or NaN, or `nonfinite` is another word.
        ParameterTypeError: An argument has the wrong type.
        TensorDtypeError: A gradient is complex: there is no order to clip by. Use `clip_grad_norm_`.
        NonFiniteError: A gradient is not finite and `nonfinite` is "raise". Nothing was changed.
        ShardingError: A gradient holds parts of a sum still to be made, or the model is wrapped in
            FullyShardedDataParallel.

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
    checks.choice("nonfinite", nonfinite, ["zero", "leave", "skip", "raise", "propagate"])
    gradients = gradients_of(parameters)
    refuse_unordered(gradients)
    largest = norms(gradients, math.inf, foreach)
    if nonfinite == "raise" and not all(map(math.isfinite, largest)):
        refuse_nonfinite(gradients, math.inf)
    if nonfinite == "skip" and any(map(math.isnan, largest)):
        drop_gradients_(gradients.listed)
    if nonfinite in {"leave", "skip"} and any(map(math.isnan, largest)):
        return
    clamp_outside_(gradients, largest, limit, foreach, zero_nan=nonfinite == "zero")


def refuse_unordered(gradients: Gradients) -> None:
    """Refuse gradients whose entries cannot be compared with a limit.

    Raises:
        TensorDtypeError: One is complex.
        ShardingError: One holds parts of a sum.
    """
    for tensor in gradients.tensors if any(dtype.is_complex for dtype, _ in gradients.looks) else ():
        if tensor.is_complex():
            raise TensorDtypeError(
                f"{gradients.label(tensor)} is complex, and complex numbers have no order to clip by; "
                "use clip_grad_norm_"
            )
    for tensor in gradients.tensors if gradients.sharded else ():
        require_summed(tensor, gradients.label(tensor))


def clamp_outside_(gradients: Gradients, largest: Norms, limit: float, foreach: bool | None, *, zero_nan: bool) -> None:
    """Clamp the gradients whose largest magnitude is beyond the limit or NaN."""
    outside = gradients.part([place for place, size in enumerate(largest) if not size <= limit])
    _clamp_(outside.here, limit, foreach, zero_nan=zero_nan)
    mark_written(outside)


def _clamp_(tensors: Sequence[Tensor], limit: float, foreach: bool | None, *, zero_nan: bool) -> None:
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        by_dtype.setdefault(tensor.dtype, []).append(merged_values(tensor))
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
