"""A finding: one symptom, named once, at the first layer that shows it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "note"]
Evidence = Mapping[str, float | int | str]


@dataclass(frozen=True, slots=True)
class Finding:
    """One symptom of a network.

    Attributes:
        rule: The rule that found it, in kebab-case.
        severity: "error" (it will not train, or only by luck), "warning" (it trains worse than it could) or "note".
        layer: Qualified name of the first layer that shows it; "input", "output" or "loss" where it is no layer.
        evidence: The numbers that it rests on.
        explanation: What was seen and why it matters, in one or two sentences.
        remedy: What to do, in one sentence.
        layers: All layers that show it, in execution order, the first included.
        cause: Rule of the finding that explains this one; None for a root cause.
    """

    rule: str
    severity: Severity
    layer: str
    evidence: Evidence
    explanation: str
    remedy: str
    layers: tuple[str, ...] = field(default=())
    cause: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The finding as a dictionary that JSON can hold."""
        return asdict(self)
