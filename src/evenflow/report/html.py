"""The page: one self-contained file, without script and without anything loaded from elsewhere."""

from typing import TYPE_CHECKING

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.report.extras import require_report_extra
from evenflow.report.model import Report

if TYPE_CHECKING:
    from jinja2 import Environment


def html_page(subject: Diagnosis | Report) -> str:
    """Draw a diagnosis or a report as an HTML page.

    Args:
        subject: What is shown.

    Returns:
        The page. It holds its style and figures and opens without a network.

    Raises:
        MissingExtraError: The extra `evenflow[report]` is not installed.
    """
    require_report_extra()
    from evenflow.report.views import PageView

    report = subject if isinstance(subject, Report) else Report.of(subject)
    return environment().get_template("report.html.j2").render(page=PageView.of(report))


def environment() -> "Environment":
    """Return the templates, with the filters that write numbers."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from evenflow.report import numbers

    made = Environment(
        loader=PackageLoader("evenflow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(
        number=numbers.number,
        share=numbers.share,
        accuracy=numbers.accuracy,
        steps=numbers.steps,
        count=numbers.count,
    )
    return made
