"""The page: one self-contained file, without script and without anything loaded from elsewhere."""

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.report.extras import require_report_extra
from evenflow.report.model import Report


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
    from jinja2 import Environment, PackageLoader, StrictUndefined

    from evenflow.report import numbers
    from evenflow.report.views import PageView

    report = subject if isinstance(subject, Report) else Report.of(subject)
    environment = Environment(
        loader=PackageLoader("evenflow.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=numbers.number,
        share=numbers.share,
        accuracy=numbers.accuracy,
        steps=numbers.steps,
        count=numbers.count,
    )
    return environment.get_template("report.html.j2").render(page=PageView.of(report))
