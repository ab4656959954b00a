"""The report of the lab as Markdown, its figures as files beside it."""

from collections.abc import Iterator
from pathlib import Path

from evenflow.lab.records import Summary
from evenflow.report.extras import require_report_extra
from evenflow.report.lab import words

HEADS = ("effect", "predicted", "measured", "95 % interval", "d", "p", "n", "verdict")


def lab_markdown(summary: Summary, figures: Path) -> tuple[str, dict[str, str]]:
    """Write the claims of a run as Markdown.

    Args:
        summary: What `evenflow.lab.summary.summary` read from a store.
        figures: The folder of the figures, relative to the file.

    Returns:
        The text, and the SVG of every figure by its file name.

    Raises:
        MissingExtraError: The extra `evenflow[report]` is not installed.
    """
    require_report_extra()
    claims, drawn = words.claim_views(summary), dict[str, str]()
    lines = ["# Claims, measured", "", *_head(summary), "", *_table(claims), ""]
    for claim in claims:
        own = _drawn(claim)
        drawn |= own
        lines += [*_section(claim, figures, list(own)), ""]
    lines += ["## How to read this", "", *(f"- **{name}**: {meaning}." for name, meaning in words.MEANINGS)]
    return "\n".join(lines) + "\n", drawn


def _head(summary: Summary) -> Iterator[str]:
    yield f"Made by `{summary.command}` on {words.machine(summary)}."
    yield ""
    yield from (f"- {name}: {value}" for name, value in words.facts(summary))


def _table(claims: tuple[words.ClaimView, ...]) -> Iterator[str]:
    yield "| claim | verdict | p | found |"
    yield "|---|---|---|---|"
    for claim in claims:
        link = f"[{claim.id}](#{claim.anchor.lower()})"
        yield f"| {link} {claim.title} | **{claim.word}** | {claim.p} | {_cell(claim.finding)} |"


def _section(claim: words.ClaimView, figures: Path, names: list[str]) -> Iterator[str]:
    yield f'<a id="{claim.anchor.lower()}"></a>'
    yield ""
    yield f"## {claim.id}: {claim.title}"
    yield ""
    yield f"**{claim.word.capitalize()}.** {claim.finding}"
    yield ""
    yield f"- Claim: {claim.statement}"
    yield f"- Source: {claim.source}"
    yield f"- Prediction ({claim.fixed}): {claim.prediction}"
    yield f"- Measured by {claim.trials}. Again: `{claim.command}`"
    yield ""
    yield f"| {' | '.join(HEADS)} |"
    yield "|" + "---|" * len(HEADS)
    yield from ("| " + " | ".join(_cell(part) for part in check[: len(HEADS)]) + " |" for check in claim.checks)
    yield ""
    yield from (f"![{claim.id}]({(figures / name).as_posix()})" for name in names)
    yield ""
    yield claim.caption


def _drawn(claim: words.ClaimView) -> dict[str, str]:
    from evenflow.report.figures.svg import standalone_svg
    from evenflow.report.lab.panels import panel_chart

    charts = (panel_chart(panel) for panel in claim.panels)
    named = enumerate((chart for chart in charts if chart is not None), start=1)
    return {f"{claim.id.lower()}-{number}.svg": standalone_svg(chart) for number, chart in named}


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
