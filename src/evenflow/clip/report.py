"""What a clipper did in one step."""

import math
from dataclasses import asdict, dataclass
from typing import Any

from evenflow.errors import StateError

NAMED = 8
"""How many names a report holds at most of those that are not finite, and of those that carry the norm."""


@dataclass(frozen=True, slots=True)
class ClipReport:
    """What a clipper found and did in one step.

    Attributes:
        step: Number of the step, from 1.
        norm: Norm of all gradients before clipping; not finite where a gradient was not.
        clipped_norm: Norm of all gradients afterwards; NaN where the step is skipped.
        measure: What the clipper compares with its threshold: this norm, the largest entry, or the largest ratio of a
            gradient to its weight. Of several parts, the one that is furthest beyond its threshold.
        threshold: That threshold.
        factor: The smallest number that a gradient was multiplied by; 1 where nothing was clipped.
        fired: Whether anything was clipped.
        skipped: Whether the step is to be skipped because of gradients that are not finite.
        clipped: How many parts were clipped: units, parameters, layers or groups, or 1 for the whole.
        parts: How many parts there are.
        nonfinite: Names of parameters whose gradients are not finite, at most 8.
        nonfinite_count: How many there are.
        largest: Names of the parameters that carry most of the norm, each with its share of it in [0, 1] (of the
            squared norm where the norm is Euclidean); the largest first, at most 8.
        rate: Share of the steps in the history, this one included, in which something was clipped.
    """

    step: int
    norm: float
    clipped_norm: float
    measure: float
    threshold: float
    factor: float
    fired: bool
    skipped: bool
    clipped: int
    parts: int
    nonfinite: tuple[str, ...]
    nonfinite_count: int
    largest: tuple[tuple[str, float], ...]
    rate: float

    def to_dict(self, prefix: str = "clip/") -> dict[str, float]:
        """Everything as a flat dictionary of floats, for a logger.

        Args:
            prefix: Beginning of every key.

        Returns:
            The numbers by their names; the shares of the norm as `share/NAME`.

        Examples:
            >>> report = ClipReport(1, 5.0, 1.0, 5.0, 1.0, 0.2, True, False, 1, 1, (), 0, (("a", 1.0),), 1.0)
            >>> report.to_dict("")["clipped_norm"], report.to_dict()["clip/share/a"]
            (1.0, 1.0)
        """
        told = asdict(self)
        shares = told.pop("largest")
        told.pop("nonfinite")
        numbers = told | {f"share/{name}": share for name, share in shares}
        return {prefix + name: float(value) for name, value in numbers.items()}

    def __str__(self) -> str:
        lines = [f"step {self.step}: {self._verdict()}"]
        if self.nonfinite_count:
            more = "" if self.nonfinite_count == len(self.nonfinite) else f" and {self.nonfinite_count - NAMED} more"
            lines.append(f"not finite: {', '.join(self.nonfinite)}{more}")
        if self.largest:
            lines.append("most of the norm: " + ", ".join(f"{name} {share:.0%}" for name, share in self.largest[:3]))
        lines.append(f"clipped {self.rate:.0%} of the last steps")
        return "; ".join(lines)

    def _verdict(self) -> str:
        if self.skipped:
            return f"norm {self.norm:.4g}, skipped"
        if not self.fired:
            return f"norm {self.norm:.4g}, not clipped (threshold {self.threshold:.4g})"
        some = f" in {self.clipped} of {self.parts} parts" if self.parts > 1 else ""
        return f"norm {self.norm:.4g} clipped to {self.clipped_norm:.4g}{some} (threshold {self.threshold:.4g})"


def to_state(report: ClipReport) -> dict[str, Any]:
    """Return a report as a dictionary that `torch.load(weights_only=True)` takes."""
    return asdict(report) | {"nonfinite": list(report.nonfinite), "largest": [list(pair) for pair in report.largest]}


def from_state(state: object) -> ClipReport:
    """Return the report of such a dictionary.

    Raises:
        StateError: It is not one.
    """
    try:
        fields = dict(state)  # type: ignore[call-overload]  # any object; the error is told below
        fields["nonfinite"] = tuple(fields["nonfinite"])
        fields["largest"] = tuple((name, share) for name, share in fields["largest"])
        return ClipReport(**fields)
    except (TypeError, KeyError, ValueError) as error:
        raise StateError(f"history must hold reports as state_dict() writes them; got {state!r} ({error})") from error


def is_finite(report: ClipReport) -> bool:
    """Tell whether the gradients of a report were finite, and there were any."""
    return math.isfinite(report.measure) and report.measure > 0 and not report.nonfinite_count
