"""What the page says, in strings: the template only arranges it."""

from dataclasses import dataclass
from importlib.metadata import version as installed
from itertools import zip_longest

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.finding import Finding
from evenflow.probe.records import NetworkRecord
from evenflow.report import numbers
from evenflow.report.chains import Chain, chains, more_layers, place, title
from evenflow.report.figures.gallery import TREATED, UNTREATED, Figure, depth_figures, training_figures
from evenflow.report.model import Case, Outcome, Report, parameter_count
from evenflow.report.rows import LayerRow, layer_rows
from evenflow.report.verdict import Verdict, verdict
from evenflow.version import __version__

LONG_TABLE = 12
LONG_CODE = 24


@dataclass(frozen=True, slots=True)
class FindingView:
    """A finding in strings."""

    title: str
    severity: str
    place: str
    explanation: str
    remedy: str
    evidence: tuple[tuple[str, str], ...]
    more: tuple[str, ...]

    @classmethod
    def of(cls, finding: Finding) -> "FindingView":
        """Write a finding."""
        return cls(
            title=title(finding.rule),
            severity=finding.severity,
            place=place(finding),
            explanation=finding.explanation,
            remedy=finding.remedy,
            evidence=tuple((key.replace("_", " "), _value(value)) for key, value in finding.evidence.items()),
            more=more_layers(finding),
        )


@dataclass(frozen=True, slots=True)
class ChainView:
    """A root cause and its consequences in strings."""

    root: FindingView
    consequences: tuple[FindingView, ...]

    @classmethod
    def of(cls, chain: Chain) -> "ChainView":
        """Write a chain."""
        return cls(FindingView.of(chain.root), tuple(map(FindingView.of, chain.consequences)))


@dataclass(frozen=True, slots=True)
class DiagnosisView:
    """A diagnosis in strings.

    Attributes:
        verdict: The verdict.
        chains: The findings by cause.
        facts: Name and value of what is known about the network as a whole.
        rows: The layer table.
        columns: Names of the optional columns of the table that hold something.
        folded: Whether the table is long.
    """

    verdict: Verdict
    chains: tuple[ChainView, ...]
    facts: tuple[tuple[str, str], ...]
    rows: tuple[LayerRow, ...]
    columns: frozenset[str]
    folded: bool

    @classmethod
    def of(cls, diagnosis: Diagnosis) -> "DiagnosisView":
        """Write a diagnosis."""
        rows = layer_rows(diagnosis)
        return cls(
            verdict=verdict(diagnosis),
            chains=tuple(map(ChainView.of, chains(diagnosis.findings))),
            facts=_facts(diagnosis),
            rows=rows,
            columns=frozenset(
                c for c in ("activation", "saturated", "dead") if any(getattr(row, c) is not None for row in rows)
            ),
            folded=len(rows) > LONG_TABLE,
        )


@dataclass(frozen=True, slots=True)
class SummaryRow:
    """A network in one state: its verdict, its name within the case, and what its training came to."""

    verdict: Verdict | None
    label: str
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case in strings and figures."""

    title: str
    subtitle: str
    before: DiagnosisView
    after: DiagnosisView | None
    sentences: tuple[str, ...]
    script: str
    script_folded: bool
    summary: tuple[SummaryRow, ...]
    training: tuple[Figure, ...]
    depth: tuple[Figure, ...]

    @classmethod
    def of(cls, case: Case) -> "CaseView":
        """Write a case and draw its figures."""
        return cls(
            title=case.title,
            subtitle=case.subtitle,
            before=DiagnosisView.of(case.before),
            after=DiagnosisView.of(case.after) if case.after else None,
            sentences=case.sentences,
            script=case.script,
            script_folded=case.script.count("\n") >= LONG_CODE,
            summary=_summary(case),
            training=tuple(training_figures(case)),
            depth=tuple(depth_figures(case)),
        )


@dataclass(frozen=True, slots=True)
class PageView:
    """A whole page."""

    title: str
    cases: tuple[CaseView, ...]
    footnotes: tuple[str, ...]
    method: str
    versions: str

    @classmethod
    def of(cls, report: Report) -> "PageView":
        """Write a report."""
        return cls(
            title=report.title,
            cases=tuple(map(CaseView.of, report.cases)),
            footnotes=report.footnotes,
            method=_method([case.before.record for case in report.cases]),
            versions=f"evenflow {__version__}, torch {installed('torch')}",
        )


def _summary(case: Case) -> tuple[SummaryRow, ...]:
    verdicts = [verdict(diagnosis) for diagnosis in (case.before, case.after) if diagnosis]
    labels = (UNTREATED, TREATED)[: len(verdicts)]
    return tuple(
        SummaryRow(said, outcome.label if outcome else label or "", outcome)
        for said, label, outcome in zip_longest(verdicts, labels, case.outcomes)
    )


def _value(value: float | int | str) -> str:
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else numbers.number(value)


def _facts(diagnosis: Diagnosis) -> tuple[tuple[str, str], ...]:
    record = diagnosis.record
    loss = numbers.number(record.loss.value)
    if record.loss.chance is not None:
        loss += f" (guessing: {numbers.number(record.loss.chance)})"
    return (
        ("model", record.model),
        ("layers", f"{len(record.layers):,}"),
        ("parameters", f"{parameter_count(diagnosis):,}"),
        ("batch", numbers.count(record.samples, "sample")),
        (f"loss, {record.loss.kind}", loss),
    )


def _method(records: list[NetworkRecord]) -> str:
    batches = sorted({record.samples for record in records})
    sizes = " or ".join(numbers.count(batch, "sample") for batch in batches)
    return (
        f"Each network was measured in one forward and one backward pass over one batch of {sizes}, "
        "in training mode; its weights, statistics and random states were put back afterwards."
    )
