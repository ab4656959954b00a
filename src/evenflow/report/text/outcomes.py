"""What came of the treatments, as a table."""

from rich import box
from rich.table import Table
from rich.text import Text

from evenflow.report import numbers
from evenflow.report.model import TARGET_ACCURACY, Case, Report
from evenflow.report.text.style import QUIET


def outcome_table(report: Report) -> Table:
    """Draw accuracy, loss and speed of every run, the treated one under the untreated.

    Args:
        report: The cases; one that was not trained has no row.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style=QUIET)
    table.add_column("network", overflow="fold", min_width=12)
    table.add_column("run", overflow="fold")
    for heading in ("test accuracy", "training loss", f"steps to {TARGET_ACCURACY:.0%}"):
        table.add_column(heading, justify="right")
    for case in report.cases:
        _add(table, case)
    return table


def _add(table: Table, case: Case) -> None:
    for position, outcome in enumerate(case.outcomes):
        table.add_row(
            Text(case.title if position == 0 else ""),
            Text(outcome.label),
            numbers.accuracy(outcome.accuracy),
            numbers.number(outcome.loss),
            numbers.steps(outcome.steps_to_target),
            end_section=position == len(case.outcomes) - 1,
        )
