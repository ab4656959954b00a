"""What to do about NaN and infinity in gradients: find them, name them, or set them to zero."""

from collections.abc import Iterable
from typing import NoReturn

import torch
from torch import Tensor

from evenflow.clip.gradients import Gradients, values_to_write
from evenflow.errors import NonFiniteError

_NAMED = 8


def refuse_nonfinite(gradients: Gradients, norm_type: float) -> NoReturn:
    """Raise an error that names the gradients whose norm is not finite.

    Raises:
        NonFiniteError: Always.
    """
    counted = [(tensor, *_counts(values_to_write(tensor))) for tensor in gradients.tensors]
    bad = [
        f"{gradients.label(tensor)} ({nans} NaN, {infinities} infinite)"
        for tensor, nans, infinities in counted
        if nans or infinities
    ]
    if not bad:
        raise NonFiniteError(
            f"the gradients are finite but their norm of order {norm_type:g} is beyond the range of float64; "
            "scale the loss down"
        )
    named = ", ".join(bad[:_NAMED] + ["..."] * (len(bad) > _NAMED))
    raise NonFiniteError(
        f"{len(bad)} of {len(gradients.tensors)} gradients are not finite: {named}. No gradient was changed. "
        "Skip this step, or pass nonfinite='zero' to clip what is finite"
    )


def zero_nonfinite_(tensors: Iterable[Tensor]) -> None:
    """Set each NaN and each infinity to zero and leave tensors without any alone."""
    for tensor in tensors:
        values = values_to_write(tensor)
        bad = ~torch.isfinite(values)
        if bad.any():
            values.masked_fill_(bad, 0)


def _counts(values: Tensor) -> tuple[int, int]:
    """Count the NaN and the infinite entries; a complex number with a NaN part is NaN."""
    nans, bad = torch.isnan(values).sum(), (~torch.isfinite(values)).sum()
    return int(nans), int(bad - nans)
