"""Clipping norms that stand out of their running mean."""

import math
from typing import Any, ClassVar

from torch.optim import Optimizer

from evenflow import checks
from evenflow.clip.auto_clipper import scaled
from evenflow.clip.by_norm import as_limit
from evenflow.clip.clipper import Clipper, Found, Outcome
from evenflow.clip.gradients import Parameters, plain_number
from evenflow.errors import StateError

_KEYS = ("first", "mean", "variance")


class ZClipper(Clipper):
    r"""Scale all gradients down when their norm stands out of its running mean (ZClip).

    With the running mean $\mu$ and standard deviation $\sigma$ of the norm, and $z = (\|g\| - \mu) / \sigma$,

    $$
    \|g\| \leftarrow \mu + \frac{z_{\max}^2}{z} \, \sigma \qquad \text{where } z > z_{\max},
    $$

    so that a norm that stands out more is cut down further. Mean and variance are those of the norm after clipping:

    $$
    \mu \leftarrow \alpha \mu + (1 - \alpha) \|g\|, \qquad
    \sigma^2 \leftarrow \alpha \sigma^2 + (1 - \alpha) (\|g\| - \mu)^2 .
    $$

    They begin as those of the first steps. A norm that is not finite does not enter them, nor what
    is left of one.

    Args:
        parameters: A model, an optimizer, or an iterable of parameters or (name, parameter) pairs.
        z_max: $z_{\max}$, positive.
        smoothing: $\alpha$ in [0, 1).
        warmup: Steps from which mean and variance begin, at least 2. They are clipped at `max_norm` only.
        mode: "reciprocal" is the formula above; "threshold" cuts down to $\mu + z_{\max} \sigma$ and "mean" to $\mu$.
        max_norm: No norm is let above this, at any time; at least 0.
        nonfinite: As in `NormClipper`.
        accumulate: As in `NormClipper`.
        history: As in `NormClipper`.
        scaler: As in `NormClipper`.

    Raises:
        ParameterValueError: An argument is out of range, or there are no parameters.
        ParameterTypeError: An argument has the wrong type.
        ShardingError: The model is wrapped in FullyShardedDataParallel; use `fully_shard`.

    Examples:
        >>> import torch
        >>> model = torch.nn.Linear(1, 1, bias=False)
        >>> clipper = ZClipper(model, warmup=4)
        >>> for size in (1.0, 1.2, 0.8, 1.0, 9.0):
        ...     model.weight.grad = torch.tensor([[size]])
        ...     report = clipper.step()
        >>> report.fired, round(report.clipped_norm, 2)
        (True, 1.02)

    References:
        Kumar, Owen, Chowdhury & Güra 2025, "ZClip: adaptive spike mitigation for LLM pre-training".
    """

    _settings: ClassVar[tuple[str, ...]] = ("z_max", "smoothing", "warmup", "mode", "max_norm")

    def __init__(
        self,
        parameters: Parameters | Optimizer,
        z_max: float = 2.5,
        *,
        smoothing: float = 0.97,
        warmup: int = 25,
        mode: str = "reciprocal",
        max_norm: float = math.inf,
        nonfinite: str = "skip",
        accumulate: int = 1,
        history: int = 1000,
        scaler: object = None,
    ) -> None:
        self.z_max = checks.real("z_max", plain_number(z_max), low=0, open_low=True)
        self.smoothing = checks.real("smoothing", plain_number(smoothing), low=0, high=1, open_high=True)
        self.warmup = checks.integer("warmup", warmup, low=2)
        self.mode = checks.choice("mode", mode, ["reciprocal", "threshold", "mean"])
        self.max_norm = as_limit(max_norm)
        self._first: list[float] = []
        self._mean = self._variance = 0.0
        super().__init__(parameters, nonfinite=nonfinite, accumulate=accumulate, history=history, scaler=scaler)

    def _clip(self, found: Found) -> Outcome:
        threshold = min(self._threshold(found.total), self.max_norm)
        outcome = scaled(found.gradients, found.total, threshold)
        if found.sound and math.isfinite(found.total):
            self._learn(min(found.total, threshold))
        return outcome

    def _threshold(self, total: float) -> float:
        """Return what the norm is cut down to if it is above: beyond $z_max$ less than where clipping begins."""
        if len(self._first) < self.warmup:
            return math.inf
        deviation = math.sqrt(self._variance)
        begins = self._mean + self.z_max * deviation
        if not total > begins or self.mode == "threshold":
            return begins
        if self.mode == "mean" or deviation == 0:
            return self._mean
        z = (total - self._mean) / deviation
        return self._mean + self.z_max * deviation * (self.z_max / z)

    def _learn(self, norm: float) -> None:
        if len(self._first) < self.warmup:
            self._first.append(norm)
            if len(self._first) == self.warmup:
                self._mean = math.fsum(self._first) / self.warmup
                self._variance = math.fsum((first - self._mean) ** 2 for first in self._first) / self.warmup
            return
        self._mean = self.smoothing * self._mean + (1 - self.smoothing) * norm
        self._variance = self.smoothing * self._variance + (1 - self.smoothing) * (norm - self._mean) ** 2

    def _memory(self) -> dict[str, Any]:
        return dict(zip(_KEYS, (list(self._first), self._mean, self._variance), strict=True))

    def _remember(self, memory: dict[str, Any]) -> None:
        try:
            first, mean, variance = list(map(float, memory["first"])), float(memory["mean"]), float(memory["variance"])
        except (TypeError, ValueError) as error:
            raise StateError(
                f"the memory of a ZClipper must hold numbers under {', '.join(_KEYS)} ({error})"
            ) from error
        self._first, self._mean, self._variance = first, mean, variance
