"""One pass on real data that measures what each layer gives and scales its weight until that is what the rule meant."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from evenflow.planning.row import Row
from evenflow.planning.writing import write
from evenflow.probe.batch import is_signal
from evenflow.probe.moments import moments
from evenflow.probe.trace import Step, Tracer

# A drift below this is what another batch would show.
TOLERATED = 0.02

# A branch whose input nearly vanishes, as an average over many positions does, is not blown up beyond this.
LARGEST_OF_BRANCH = 2.0

DRAWN = ("normal", "uniform", "truncated_normal", "orthogonal", "delta_orthogonal")


class Correction(Tracer):
    """Corrects each weight when the data first reaches it, in the order of execution.

    Attributes:
        rows: The rows, corrected so far.
        silent: Names of weights whose layer gave nothing but zeros, or something that is not finite.
    """

    def __init__(self, model: nn.Module, rows: Mapping[str, Row], seed: int) -> None:
        super().__init__(model, histograms=False)
        self.rows = dict(rows)
        self.silent: dict[str, str] = {}
        self._seed = seed
        self._tensors = dict(model.named_parameters())
        self._done: set[str] = set()

    def run_layer(self, step: Step, names: tuple[str, ...]) -> Any:
        """Run the layer; where its output has not the size that was meant, scale the weight and run it again."""
        result = step.run()
        aimed = [name for name in names if name in self.rows and _is_aimed(self.rows[name])]
        if len(aimed) != 1 or aimed[0] in self._done:
            return result
        with torch._C.DisableTorchFunction(), torch.no_grad():
            return self._correct(step, result, aimed[0], names)

    def _correct(self, step: Step, result: Any, name: str, names: tuple[str, ...]) -> Any:
        row = self.rows[name]
        rms, broken = _size(step, result)
        if broken or rms == 0:
            self.silent[name] = "values that are not finite" if broken else "zero for the whole batch"
            return result
        self.silent.pop(name, None)
        self._done.add(name)
        noise = sum(self._noise(other) for other in names)
        factor = self._factor(row, rms, noise)
        if abs(factor - 1) > TOLERATED and row.rule in DRAWN:
            row = row.scaled(factor)
            self._tensors[name].mul_(factor)
            for other in names:
                if other in self.rows and self.rows[other].rule == "balance":
                    write(self.rows[other], self._tensors[other], self._seed, self._tensors)
            result = step.run()
            rms = _size(step, result)[0]
        self.rows[name] = replace(row, measured=rms)
        return result

    def _factor(self, row: Row, rms: float, noise: float) -> float:
        """What the weight has to be multiplied by, where biases of variance `noise` are added to its part."""
        assert row.aim is not None  # `run_layer` chose rows that aim at something
        own, meant = rms * rms - noise, row.aim * row.aim - noise
        factor = math.sqrt(meant / own) if own > 0 and meant > 0 else row.aim / rms
        return min(factor, LARGEST_OF_BRANCH) if row.role == "residual" else factor

    def _noise(self, name: str) -> float:
        row = self.rows.get(name)
        std = None if row is None or row.role != "bias" else row.options.get("std")
        return float(std) ** 2 if isinstance(std, (int, float)) else 0.0


def _is_aimed(row: Row) -> bool:
    """Whether the size of what a weight gives can be told from one batch; that of a table depends on the tokens."""
    return bool(row.aim) and row.role != "embedding"


def _size(step: Step, result: Any) -> tuple[float, int]:
    """Root mean square of the first output, and how many of its values are not finite."""
    outputs: list[Tensor] = [t for t in step.outputs(result) if is_signal(t)]
    if not outputs:
        return 0.0, 0
    found = moments(outputs[0], histogram=False)
    return found.rms, found.nonfinite
