"""The result of a check: what was measured, what it means, what to do."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.naming import called
from evenflow.diagnose.plain import plain
from evenflow.diagnose.treat.prescription import Prescription
from evenflow.faces import face
from evenflow.probe.records import LayerRecord, NetworkRecord


@dataclass(frozen=True, slots=True, repr=False)
class Diagnosis:
    """What `evenflow.check` returns.

    Attributes:
        record: Everything that was measured.
        findings: The symptoms, root cause first.
        prescription: The remedies; empty when there is nothing to do.
        batch: The batch that was checked, so that a treatment can be checked on the same; not part of `to_dict`.
        loss_fn: The loss function that was given; likewise.
    """

    record: NetworkRecord
    findings: tuple[Finding, ...]
    prescription: Prescription
    batch: object = field(default=None, compare=False)
    loss_fn: Callable[..., Any] | None = field(default=None, compare=False)

    @property
    def ok(self) -> bool:
        """Whether no finding is an error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def layers(self) -> tuple[LayerRecord, ...]:
        """The measured layers, in execution order."""
        return self.record.layers

    def to_dict(self) -> dict[str, Any]:
        """Everything as nested dictionaries and lists that JSON can hold (NaN and infinity as strings)."""
        told: dict[str, Any] = plain(
            {
                "ok": self.ok,
                "findings": [finding.to_dict() for finding in self.findings],
                "prescription": self.prescription.to_dict(),
                "record": self.record.to_dict(),
            }
        )
        return told

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a self-contained page (no script, no network) and return its path.

        Raises:
            MissingExtraError: The extra `evenflow[report]` is not installed.
            OSError: The file cannot be written.
        """
        target = Path(path)
        target.write_text(face("html")(self), encoding="utf-8")
        return target

    def _repr_html_(self) -> str:
        page: str = face("html")(self)
        return page

    def __rich_console__(self, console: Any, options: Any) -> Any:
        yield face("terminal")(self)

    def __repr__(self) -> str:
        verdict = "healthy" if self.ok else "sick"
        count = f"{len(self.findings)} finding{'' if len(self.findings) == 1 else 's'}"
        return f"<Diagnosis of {self.record.model}: {verdict}, {count}{self._first()}>"

    def _first(self) -> str:
        if not self.findings:
            return ""
        rule, place = self.findings[0].rule, self.findings[0].layer
        known = any(layer.name == place for layer in self.layers)
        return f", first: {rule}{' at ' * bool(place)}{called(place) if known else place}"
