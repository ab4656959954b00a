"""How a network is trained, and what is kept of it."""

import math
from dataclasses import dataclass

from evenflow import checks
from evenflow.lab.trial import Measurement

OPTIMISERS = ("sgd", "momentum", "adam")
BEYOND = 1e4


@dataclass(frozen=True, slots=True)
class Recipe:
    """Optimiser, learning rate, batch and budget.

    Attributes:
        rate: Learning rate, above 0.
        steps: Number of optimiser steps.
        batch: Samples a batch.
        optimiser: "sgd", "momentum" (SGD with momentum 0.9) or "adam".
        max_norm: Largest norm of all gradients together, above which they are clipped; inf for no clipping.
        every: The test accuracy is measured at every so many steps, and at the end; 0 for the end alone.
        smoothing: Weight of the past in the smoothed loss that `Run.steps_to` looks at.

    Raises:
        ParameterValueError: A value is out of range.
    """

    rate: float
    steps: int
    batch: int = 64
    optimiser: str = "sgd"
    max_norm: float = math.inf
    every: int = 0
    smoothing: float = 0.9

    def __post_init__(self) -> None:
        checks.real("rate", self.rate, low=0, open_low=True)
        checks.integer("steps", self.steps, low=1)
        checks.integer("batch", self.batch, low=1)
        checks.choice("optimiser", self.optimiser, OPTIMISERS)
        checks.real("max_norm", self.max_norm, low=0, open_low=True, infinite=True)
        checks.integer("every", self.every, low=0)
        checks.real("smoothing", self.smoothing, low=0, high=1, open_high=True)

    def measured_at(self, step: int) -> bool:
        """Whether the test accuracy is measured after this many steps."""
        return step == self.steps or (self.every > 0 and step % self.every == 0)


@dataclass(frozen=True, slots=True)
class Run:
    """What one training run showed.

    Attributes:
        loss: Training loss of every batch before its step; a run that diverges ends there.
        measured: Steps at which the test accuracy was measured.
        accuracy: That accuracy, in [0, 1].
        smoothing: Weight of the past in the smoothed loss.
        diverged: Whether the loss became NaN, infinite, or more than 10,000.
    """

    loss: tuple[float, ...]
    measured: tuple[int, ...]
    accuracy: tuple[float, ...]
    smoothing: float = 0.9
    diverged: bool = False

    @property
    def smoothed(self) -> list[float]:
        """The exponentially smoothed loss, which starts at the first."""
        result: list[float] = []
        for loss in self.loss:
            result.append(self.smoothing * result[-1] + (1 - self.smoothing) * loss if result else loss)
        return result

    def steps_to(self, target: float) -> float:
        """The first step at which the smoothed loss is at most the target; inf for never.

        Examples:
            >>> Run((2.0, 1.0, 0.5, 0.4), (), (), smoothing=0.0).steps_to(0.5)
            3.0
        """
        return next((float(step) for step, loss in enumerate(self.smoothed, start=1) if loss <= target), math.inf)

    @property
    def final(self) -> float:
        """The smoothed loss at the end; inf when the run diverged."""
        return math.inf if self.diverged else self.smoothed[-1]

    def measurement(self, target: float | None = None, every: int = 1) -> Measurement:
        """The run as a trial's measurement: `final_loss`, `accuracy`, `best_accuracy`, `diverged`, `steps`, and curves.

        Args:
            target: Loss for `steps` (see `steps_to`); None leaves it out.
            every: The loss curve keeps each so-manieth step.
        """
        metrics = {
            "final_loss": self.final,
            "diverged": float(self.diverged),
            "accuracy": self.accuracy[-1] if self.accuracy else math.nan,
            "best_accuracy": max(self.accuracy, default=math.nan),
        }
        if target is not None:
            metrics["steps"] = self.steps_to(target)
        curves = {
            "step": [float(s) for s in range(1, len(self.loss) + 1, every)],
            "loss": self.smoothed[::every],
            "measured": [float(s) for s in self.measured],
            "accuracy": list(self.accuracy),
        }
        return Measurement(metrics, curves)
