"""What to do about NaN and infinity in gradients: find them, name them, or set them to zero."""

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evenflow.clip.gradients import Gradients, values_to_write, without_names
from evenflow.clip.scaling import mark_written
from evenflow.clip.sharded import over_processes
from evenflow.errors import NonFiniteError

_NAMED = 8


def refuse_nonfinite(gradients: Gradients, norm_type: float) -> NoReturn:
    """Raise an error that names the gradients whose norm is not finite.

    Raises:
        NonFiniteError: Always.
    """
    counts = _counts(gradients)
    bad = [
        f"{gradients.label(tensor)} ({nans:.0f} NaN, {infinities:.0f} infinite)"
        for tensor, (nans, infinities) in zip(gradients.tensors, counts, strict=True)
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


def zero_nonfinite_(gradients: Gradients) -> None:
    """Set each NaN and each infinity to zero and leave tensors without any alone."""
    for tensor in gradients.here:
        values = values_to_write(tensor)
        bad = ~torch.isfinite(values)
        if bad.any():
            values.masked_fill_(bad, 0)
    mark_written(gradients)


def drop_gradients_(listed: Sequence[Tensor | tuple[str, Tensor]]) -> None:
    """Leave parameters without a gradient, so that an optimizer passes them over.

    Zeros would not do: momentum and weight decay move a parameter all the same.
    """
    for parameter in without_names(listed):
        parameter.grad = None


def _counts(gradients: Gradients) -> NDArray[np.float64]:
    """Count the NaN and the infinite entries of each; a complex number with a NaN part is NaN."""
    counts = np.zeros((len(gradients.here), 2))
    for place, tensor in enumerate(gradients.here):
        values = values_to_write(tensor)
        nans, bad = int(torch.isnan(values).sum()), int((~torch.isfinite(values)).sum())
        counts[place] = nans, bad - nans
    return over_processes(gradients.tensors, counts, lambda parts: parts.sum(axis=0))
