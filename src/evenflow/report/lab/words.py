"""What the report of the lab says, in strings: page and Markdown only arrange it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from evenflow.lab.figure import Panel
from evenflow.lab.records import Entry, Summary
from evenflow.lab.verdict import Check
from evenflow.report import numbers

TONES = {"supported": "ok", "refuted": "error", "depends": "warning", "inconclusive": "note"}
MEANINGS = (
    ("Supported", "the 95 % interval of every effect lies in its predicted range"),
    ("Refuted", "every interval lies outside its range"),
    ("Depends", "some lie inside, the others outside"),
    ("Inconclusive", "an interval reaches over an end of its range, or p is 0.05 or more"),
    (
        "p",
        "how likely effects as clear would be if the verdict were wrong, adjusted for the number of claims (Holm); "
        "none where "
        "nothing is random",
    ),
    (
        "Interval",
        "bias-corrected bootstrap over seeds; Clopper and Pearson's for shares; the range of values for identities",
    ),
    (
        "d",
        "standardised size: mean of the paired differences over their standard deviation, or Cohen's h of two shares",
    ),
)


@dataclass(frozen=True, slots=True)
class ClaimView:
    """A claim in strings."""

    id: str
    anchor: str
    title: str
    word: str
    tone: str
    statement: str
    source: str
    prediction: str
    fixed: str
    finding: str
    checks: tuple[tuple[str, ...], ...]
    panels: tuple[Panel, ...]
    caption: str
    p: str
    trials: str
    command: str


def claim_views(summary: Summary) -> tuple[ClaimView, ...]:
    """Every claim of a summary in strings."""
    return tuple(_view(entry, summary) for entry in summary.entries)


def tally(summary: Summary) -> str:
    """How many claims have which verdict.

    Examples:
        >>> tally(Summary((), "quick", 0, "", {}, 0.0, "", ""))
        'no claim'
    """
    counted = Counter(entry.word for entry in summary.entries)
    parts = [f"{counted[word]} {word}" for word in TONES if counted[word]]
    return ", ".join(parts) if parts else "no claim"


def facts(summary: Summary) -> Iterator[tuple[str, str]]:
    """What is known about the run as a whole."""
    yield "verdicts", tally(summary)
    yield "budget", f"{summary.budget}, base seed {summary.base_seed}"
    yield "trials", f"{sum(entry.row.trials for entry in summary.entries):,}"
    yield "computing", duration(summary.seconds)
    yield "from first to last", duration(_seconds(summary))
    yield "measured on", summary.ended[:10]


def machine(summary: Summary) -> str:
    """Versions and machine in a sentence."""
    about = summary.machine
    return (
        f"evenflow {about['evenflow']}, Python {about['python']}, torch {about['torch']}, NumPy {about['numpy']}, "
        "SciPy "
        f"{about['scipy']} on {about['cores']} cores ({about['processor'] or about['machine']}, {about['system']})"
    )


def duration(seconds: float) -> str:
    """A time in the unit that suits it.

    Examples:
        >>> duration(42.3), duration(250), duration(9000)
        ('42 s', '4.2 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _seconds(summary: Summary) -> float:
    return (datetime.fromisoformat(summary.ended) - datetime.fromisoformat(summary.began)).total_seconds()


def _view(entry: Entry, summary: Summary) -> ClaimView:
    row, claim = entry.row, entry.row.claim
    failed = f", {row.failed} failed" if row.failed else ""
    seed = f" --seed {summary.base_seed}" if summary.base_seed else ""
    return ClaimView(
        id=claim.id,
        anchor=f"claim-{claim.id}",
        title=claim.title,
        word=entry.word,
        tone=TONES[entry.word],
        statement=claim.statement,
        source=claim.source,
        prediction=claim.prediction,
        fixed=f"fixed {claim.fixed[:16].replace('T', ' ')} UTC, hash {claim.hash}",
        finding=row.verdict.summary,
        checks=tuple(_check(check) for check in row.verdict.checks),
        panels=row.figure.panels,
        caption=row.figure.caption,
        p=probability(entry.p),
        trials=f"{numbers.count(row.trials, 'trial')}{failed}, {duration(row.seconds)} of computing",
        command=f"evenflow lab run {row.name} --budget {row.budget}{seed}",
    )


def _check(check: Check) -> tuple[str, ...]:
    interval = numbers.number(check.low)
    if check.low != check.high:
        interval = f"{interval} to {numbers.number(check.high)}"
    return (
        check.effect,
        str(check.expected),
        numbers.number(check.estimate),
        interval,
        numbers.MISSING if check.size is None else f"{check.size:.2g}",
        probability(check.p),
        str(check.n),
        check.word,
        TONES[check.word],
    )


def probability(p: float | None) -> str:
    """A p value in words.

    Examples:
        >>> probability(0.03), probability(1e-9), probability(None)
        ('0.03', '<0.001', '–')
    """
    if p is None:
        return numbers.MISSING
    return "<0.001" if p < 0.001 else f"{p:.2g}"
