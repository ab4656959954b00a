"""Clipping by the norm, of everything or of parts, with a memory."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from torch.optim import Optimizer

from evenflow import checks
from evenflow.clip.by_norm import as_limit, as_order
from evenflow.clip.clipper import Clipper, Found, Outcome
from evenflow.clip.gradients import Parameters
from evenflow.clip.parts import clip_parts_
from evenflow.errors import ParameterValueError

PARTS = ["model", "group", "layer", "parameter"]


class NormClipper(Clipper):
    r"""Scale gradients down to a norm, and remember what it did.

    $$
    g_k \leftarrow g_k \cdot \min\!\left(1, \frac{\text{max\_norm}}{\|g_k\|_p}\right)
    $$

    for the gradient $g_k$ of each part $k$: the whole model by default.

    Args:
        parameters: A model, an optimizer, or an iterable of parameters or (name, parameter) pairs.
        max_norm: At least 0; infinity measures without clipping. With `per="group"` also a sequence, one for each
            group.
        norm_type: $p$, positive; infinity is the largest magnitude.
        per: What is clipped by its own norm: "model" is everything together; "group" a group of the optimizer's, which
            then has to be passed as `parameters`; "layer" the parameters whose names differ in the last part only;
            "parameter" each alone.
        nonfinite: When a gradient is not finite: "skip" sets every `.grad` to None, so that the optimizer's step does
            nothing, and counts it; "zero" sets the bad entries to 0 and clips the rest; "raise" names the parameters
            and changes nothing; "leave" changes nothing; "propagate" scales all the same, as torch does. What a
            GradScaler has found not to be finite is left alone: it skips the step itself.
        accumulate: Backward passes for one step of the optimizer. `step()` may follow each and clips at the last.
        history: How many reports are kept.
        scaler: The GradScaler that scales the loss, if any. Gradients are unscaled before they are clipped.

    Raises:
        ParameterValueError: An argument is out of range, or there are no parameters.
        ParameterTypeError: An argument has the wrong type.
        ShardingError: The model is wrapped in FullyShardedDataParallel; use `fully_shard`.

    Examples:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> clipper = NormClipper(model, 1.0)
        >>> model.weight.grad = torch.tensor([[3.0, 4.0]])
        >>> print(clipper.step())
        step 1: norm 5 clipped to 1 (threshold 1); most of the norm: weight 100%; clipped 100% of the last steps
        >>> model.weight.grad
        tensor([[0.6000, 0.8000]])

    References:
        Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks", Algorithm 1.
    """

    _settings: ClassVar[tuple[str, ...]] = ("max_norm", "norm_type", "per")

    def __init__(
        self,
        parameters: Parameters | Optimizer,
        max_norm: float | Sequence[float],
        norm_type: float = 2.0,
        *,
        per: str = "model",
        nonfinite: str = "skip",
        accumulate: int = 1,
        history: int = 1000,
        scaler: object = None,
    ) -> None:
        self.per = checks.choice("per", per, PARTS)
        self.norm_type = as_order(norm_type)
        given: Any = max_norm  # may be a string, which is refused
        several = isinstance(given, Sequence) and not isinstance(given, str)
        self.max_norm = list(map(as_limit, given)) if several else as_limit(given)
        super().__init__(parameters, nonfinite=nonfinite, accumulate=accumulate, history=history, scaler=scaler)
        if per == "group" and not isinstance(parameters, Optimizer):
            raise ParameterValueError(
                f"parameters must be an optimizer where per='group'; got {type(parameters).__name__}, without groups"
            )
        self._limits()

    @property
    def _order(self) -> float:
        return self.norm_type

    def _limits(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        _, count = self._named.units(self.per)
        if not isinstance(self.max_norm, list):
            return np.full(count, self.max_norm)
        if self.per != "group" or len(self.max_norm) != count:
            raise ParameterValueError(
                f"max_norm must be a number, or with per='group' one for each of the {count} groups; got "
                f"{self.max_norm} with per={self.per!r}"
            )
        return np.array(self.max_norm)

    def _clip(self, found: Found) -> Outcome:
        parts, _ = self._named.units(self.per)
        limits = self._limits()
        owner = [0] * len(found.sizes) if self.per == "model" else [parts[place] for place in found.gradients.origins()]
        done = clip_parts_(found.gradients, found.sizes, owner, limits, self.norm_type)
        with np.errstate(divide="ignore", invalid="ignore"):
            worst = int(np.argmax(np.where(limits > 0, done.norms / limits, done.norms)))
        return Outcome(
            clipped_norm=done.clipped_norm,
            measure=float(done.norms[worst]),
            threshold=float(limits[worst]),
            factor=float(done.factors.min()),
            clipped=int((done.factors != 1).sum()),
            parts=int(np.unique(owner).size),
        )
