"""Clipping entry by entry, with a memory."""

import math
from typing import ClassVar

import numpy as np
from torch.optim import Optimizer

from evenflow import checks
from evenflow.clip.by_value import clamp_outside_, refuse_unordered
from evenflow.clip.clipper import Clipper, Found, Outcome
from evenflow.clip.gradients import Gradients, Parameters, plain_number
from evenflow.clip.norms import combined, norms


class ValueClipper(Clipper):
    r"""Bring every entry of every gradient into $[-c, c]$, and remember what it did.

    $$
    g_i \leftarrow \min(\max(g_i, -c), c)
    $$

    In the reports `measure` is the largest magnitude of an entry, and the parts are the parameters.

    Args:
        parameters: A model, an optimizer, or an iterable of parameters or (name, parameter) pairs.
        clip_value: $c$, at least 0.
        nonfinite: As in `NormClipper`; "propagate" clips infinite entries and lets NaN pass, as torch does.
        accumulate: As in `NormClipper`.
        history: As in `NormClipper`.
        scaler: As in `NormClipper`.

    Raises:
        ParameterValueError: An argument is out of range, or there are no parameters.
        ParameterTypeError: An argument has the wrong type.
        ShardingError: The model is wrapped in FullyShardedDataParallel; use `fully_shard`.

    Examples:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> clipper = ValueClipper(model, 1.0)
        >>> model.weight.grad = torch.tensor([[0.5, -4.0]])
        >>> clipper.step().measure
        4.0
        >>> model.weight.grad
        tensor([[ 0.5000, -1.0000]])

    References:
        Mikolov 2012, "Statistical Language Models Based on Neural Networks", section 3.2.2.
    """

    _settings: ClassVar[tuple[str, ...]] = ("clip_value",)

    def __init__(
        self,
        parameters: Parameters | Optimizer,
        clip_value: float,
        *,
        nonfinite: str = "skip",
        accumulate: int = 1,
        history: int = 1000,
        scaler: object = None,
    ) -> None:
        self.clip_value = checks.real("clip_value", plain_number(clip_value), low=0, infinite=True)
        super().__init__(parameters, nonfinite=nonfinite, accumulate=accumulate, history=history, scaler=scaler)

    def _measured(self, gradients: Gradients) -> Found:
        refuse_unordered(gradients)
        return super()._measured(gradients)

    def _clip(self, found: Found) -> Outcome:
        largest = norms(found.gradients, math.inf, None)
        peak = float(largest.max(initial=0.0))
        over = ~(largest <= self.clip_value)
        clamp_outside_(found.gradients, largest, self.clip_value, None, zero_nan=False)
        after = norms(found.gradients, 2.0, None) if over.any() else found.sizes
        return Outcome(
            clipped_norm=float(combined(after, 2.0)),
            measure=peak,
            threshold=self.clip_value,
            factor=self.clip_value / peak if over.any() else 1.0,
            clipped=int(np.count_nonzero(over)),
            parts=largest.size,
        )
