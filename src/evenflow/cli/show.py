"""Print what a check found, in the format that was asked for."""

import json
import sys

from evenflow.cli.output import Output
from evenflow.diagnose import Diagnosis, TreatmentRecord
from evenflow.report import Case, Report, html_page, terminal
from evenflow.version import __version__


def print_text(model: str, before: Diagnosis, treatment: TreatmentRecord | None) -> None:
    """Print the diagnosis for people and, when the model was treated, the one after it."""
    console = Output()
    console.print(f"{model}\n", style="dim", markup=False)
    console.print(terminal(before))
    if treatment is None:
        return
    console.print()
    console.rule("treated" if treatment.kept else "not treated", align="left")
    console.print(f"{treatment.reason}\n", markup=False)
    if treatment.kept:
        console.print(terminal(treatment.after))


def print_json(model: str, before: Diagnosis, treatment: TreatmentRecord | None) -> None:
    """Print one JSON object: evenflow, model, ok, findings, prescription, record, treatment."""
    told = {
        "evenflow": __version__,
        "model": model,
        **before.to_dict(),
        "treatment": treatment.to_dict() if treatment else None,
    }
    sys.stdout.write(json.dumps(told, indent=2, allow_nan=False) + "\n")


def print_html(model: str, before: Diagnosis, treatment: TreatmentRecord | None) -> None:
    """Print the page, in the encoding that it says it has."""
    sys.stdout.buffer.write(html_page(report(model, before, treatment)).encode())


PRINT = {"text": print_text, "json": print_json, "html": print_html}


def report(model: str, before: Diagnosis, treatment: TreatmentRecord | None) -> Report:
    """The report on one model, with its treatment when it was treated and the treatment was kept."""
    kind = before.record.model
    if treatment is None or not treatment.kept:
        return Report(model, (Case(kind, "", before),))
    case = Case(kind, "", before, treatment.after, tuple(treatment.describe()), treatment.to_code())
    return Report(model, (case,))
