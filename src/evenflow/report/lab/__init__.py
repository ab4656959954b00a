"""The report of the lab, drawn from the records in its store."""

from evenflow.report.lab.markdown import lab_markdown
from evenflow.report.lab.page import lab_page

__all__ = ["lab_markdown", "lab_page"]
