"""The page of the lab: one self-contained file, without script and without anything loaded from elsewhere."""

from evenflow.lab.records import Summary
from evenflow.report.extras import require_report_extra
from evenflow.report.lab import words


def lab_page(summary: Summary) -> str:
    """Draw the claims of a run as an HTML page: verdicts first, then a section for each claim.

    Args:
        summary: What `evenflow.lab.summary.summary` read from a store.

    Returns:
        The page. It holds its style and figures and opens without a network.

    Raises:
        MissingExtraError: The extra `evenflow[report]` is not installed.
    """
    require_report_extra()
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("evenflow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    claims = words.claim_views(summary)
    return environment.get_template("lab.html.j2").render(
        claims=claims,
        figures={claim.id: _figures(claim) for claim in claims},
        facts=list(words.facts(summary)),
        command=summary.command,
        machine=words.machine(summary),
        meanings=words.MEANINGS,
    )


def _figures(claim: words.ClaimView) -> list[tuple[str, str]]:
    """The title and the SVG of every panel."""
    from evenflow.report.figures.svg import inline_svg
    from evenflow.report.lab.panels import panel_chart

    drawn = ((panel, panel_chart(panel)) for panel in claim.panels)
    return [
        (panel.title, inline_svg(chart, f"{claim.id}, {panel.title}: {panel.y} against {panel.x}"))
        for panel, chart in drawn
        if chart is not None
    ]
