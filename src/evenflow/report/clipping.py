"""The page on a clipper: what it did, step by step."""

from dataclasses import dataclass
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

from evenflow.errors import HistoryError
from evenflow.report import numbers
from evenflow.report.extras import require_report_extra
from evenflow.report.html import environment
from evenflow.version import __version__

if TYPE_CHECKING:
    from evenflow.clip import Clipper, ClipReport
    from evenflow.report.figures.gallery import Figure

MOST_PARAMETERS = 12


@dataclass(frozen=True, slots=True)
class ParameterRow:
    """A parameter that carried much of the norm.

    Attributes:
        name: Its name.
        share: Mean share of the norm over the steps in which it was among the largest.
        steps: How many steps these were.
        first: In how many it was the largest.
    """

    name: str
    share: float
    steps: int
    first: int


@dataclass(frozen=True, slots=True)
class ClipView:
    """The page in strings and figures."""

    title: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    figures: "tuple[Figure, ...]"
    parameters: tuple[ParameterRow, ...]
    nonfinite: tuple[tuple[str, int], ...]
    suggestion: str
    versions: str


def clip_page(clipper: "Clipper") -> str:
    """Draw the history of a clipper as an HTML page.

    Args:
        clipper: What is shown.

    Returns:
        The page. It holds its style and figures and opens without a network.

    Raises:
        MissingExtraError: The extra `evenflow[report]` is not installed.
    """
    require_report_extra()
    from evenflow.report.figures.clipping import clip_figures

    history = clipper.history
    view = ClipView(
        title=type(clipper).__name__,
        lead=_lead(clipper),
        facts=_facts(clipper),
        figures=tuple(clip_figures(history)),
        parameters=parameter_rows(history),
        nonfinite=_nonfinite(history),
        suggestion=_suggestion(clipper),
        versions=f"evenflow {__version__}, torch {installed('torch')}",
    )
    return environment().get_template("clipping.html.j2").render(page=view)


def parameter_rows(history: "tuple[ClipReport, ...]") -> tuple[ParameterRow, ...]:
    """List the parameters that carried most of the norm, the largest mean share first."""
    shares: dict[str, list[float]] = {}
    first: dict[str, int] = {}
    for report in history:
        for place, (name, share) in enumerate(report.largest):
            shares.setdefault(name, []).append(share)
            first[name] = first.get(name, 0) + (place == 0)
    rows = [ParameterRow(name, sum(found) / len(found), len(found), first[name]) for name, found in shares.items()]
    return tuple(sorted(rows, key=lambda row: -row.share * row.steps)[:MOST_PARAMETERS])


def _lead(clipper: "Clipper") -> str:
    seen = numbers.count(clipper.steps, "step")
    if not clipper.steps:
        return "No step yet."
    skipped = f", {clipper.skipped:,} skipped" if clipper.skipped else ""
    return f"{seen}, {clipper.fired:,} clipped ({numbers.share(clipper.fired / clipper.steps)}){skipped}."


def _facts(clipper: "Clipper") -> tuple[tuple[str, str], ...]:
    history = clipper.history
    facts = [(name, str(value)) for name, value in clipper.state_dict()["settings"].items()]
    facts.append(("steps in the history", f"{len(history):,}"))
    if history:
        facts.append(("clipped of these", numbers.share(clipper.clip_rate)))
        facts.append(("last norm", numbers.number(history[-1].norm)))
    return tuple(facts)


def _nonfinite(history: "tuple[ClipReport, ...]") -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for report in history:
        for name in report.nonfinite:
            counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts.items(), key=lambda item: -item[1])[:MOST_PARAMETERS])


def _suggestion(clipper: "Clipper") -> str:
    try:
        return str(clipper.suggest())
    except HistoryError:
        return ""
