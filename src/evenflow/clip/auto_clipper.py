"""Clipping at a percentile of the norms seen so far."""

import math
from typing import Any, ClassVar

from torch.optim import Optimizer

from evenflow import checks
from evenflow.clip.clipper import Clipper, Found, Outcome
from evenflow.clip.gradients import Gradients, Parameters, plain_number
from evenflow.clip.quantile import StreamingQuantile
from evenflow.clip.scaling import scale_down_


class AutoClipper(Clipper):
    r"""Scale all gradients down to a percentile of the norms seen so far, this one included (AutoClip).

    $$
    g \leftarrow g \cdot \min\!\left(1, \frac{\eta_p(\|g_1\|, \ldots, \|g_t\|)}{\|g_t\|}\right)
    $$

    The percentile $\eta_p$ is a streaming one, within 0.5 % of the exact, in memory that does not grow. A norm that is
    not finite does not enter it, nor what is left of one, nor a norm of zero: steps without a gradient would set the
    percentile to zero, and the gradients after them too.

    Args:
        parameters: A model, an optimizer, or an iterable of parameters or (name, parameter) pairs.
        percentile: $p$ in [0, 100]; the paper's 10 clips nine steps of ten.
        warmup: So many first steps with a gradient are only looked at.
        nonfinite: As in `NormClipper`.
        accumulate: As in `NormClipper`.
        history: As in `NormClipper`. The percentile remembers every step, whatever this is.
        scaler: As in `NormClipper`.

    Raises:
        ParameterValueError: An argument is out of range, or there are no parameters.
        ParameterTypeError: An argument has the wrong type.
        ShardingError: The model is wrapped in FullyShardedDataParallel; use `fully_shard`.

    Examples:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> clipper = AutoClipper(model, percentile=50)
        >>> for size in (1.0, 1.0, 8.0):
        ...     model.weight.grad = torch.tensor([[size]])
        ...     report = clipper.step()
        >>> report.fired, round(report.threshold, 2)
        (True, 1.0)

    References:
        Seetharaman, Wichern, Pardo & Le Roux 2020, "AutoClip: adaptive gradient clipping for source separation
        networks", Algorithm 1.
    """

    _settings: ClassVar[tuple[str, ...]] = ("percentile", "warmup")

    def __init__(
        self,
        parameters: Parameters | Optimizer,
        percentile: float = 10.0,
        *,
        warmup: int = 0,
        nonfinite: str = "skip",
        accumulate: int = 1,
        history: int = 1000,
        scaler: object = None,
    ) -> None:
        self.percentile = checks.real("percentile", plain_number(percentile), low=0, high=100)
        self.warmup = checks.integer("warmup", warmup, low=0)
        self._norms = StreamingQuantile()
        super().__init__(parameters, nonfinite=nonfinite, accumulate=accumulate, history=history, scaler=scaler)

    def _clip(self, found: Found) -> Outcome:
        if found.sound and 0 < found.total < math.inf:
            self._norms.add(found.total)
        ready = self._norms.count > self.warmup
        threshold = self._norms.quantile(self.percentile / 100) if ready else math.inf
        return scaled(found.gradients, found.total, threshold)

    def _memory(self) -> dict[str, Any]:
        return self._norms.state()

    def _remember(self, memory: dict[str, Any]) -> None:
        self._norms = StreamingQuantile.of(memory)


def scaled(gradients: Gradients, total: float, threshold: float) -> Outcome:
    """Scale all gradients down to a threshold and say so."""
    scale_down_(gradients, threshold, total, None)
    fired = not total <= threshold
    if not fired:
        return Outcome(total, total, threshold, 1.0, 0)
    factor = threshold / total if total else math.nan
    return Outcome(threshold if math.isfinite(total) else total * factor, total, threshold, factor, 1)
