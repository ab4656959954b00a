"""One report model; text, pages and figures drawn from it."""

from evenflow.report.clipping import clip_page
from evenflow.report.html import html_page
from evenflow.report.model import Case, Curve, Outcome, Report
from evenflow.report.text.outcomes import outcome_table
from evenflow.report.text.terminal import terminal

__all__ = ["Case", "Curve", "Outcome", "Report", "clip_page", "html_page", "outcome_table", "terminal"]
