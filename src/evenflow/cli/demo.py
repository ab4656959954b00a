"""`evenflow demo`: the whole chain on real data, from the sick network to the proof."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evenflow.data import digits
from evenflow.demo import CASES, Proof, Run, prove
from evenflow.demo.training import BATCH, EPOCHS, LEARNING_RATE, MOMENTUM, steps_of
from evenflow.diagnose import Diagnosis, TreatmentRecord
from evenflow.errors import SourceError
from evenflow.report import Case, Curve, Report, html_page, outcome_table

BUDGET = (
    f"Every network was trained on 1,437 digits and tested on 360, by SGD with learning rate {LEARNING_RATE}, momentum "
    f"{MOMENTUM} and batches of {BATCH}, for {EPOCHS} epochs in the same order of batches."
)


def demo_command(
    html: Annotated[Path, typer.Option(help="Where to write the report.")] = Path("evenflow-demo.html"),
) -> None:
    """Check, treat and train three sick networks on scikit-learn's digits, and show before and after."""
    start = time.monotonic()
    if not html.parent.is_dir():
        raise SourceError(f"there is no folder {html.parent} to write the report to; create it, or pass another --html")
    console = Console(highlight=False)
    report = _report(_proofs(console))
    html.write_text(html_page(report), encoding="utf-8")
    console.print()
    console.print(outcome_table(report))
    console.print(BUDGET, style="dim", markup=False)
    console.print(f"\nreport: {html.resolve()}", markup=False, soft_wrap=True)
    console.print(f"took {time.monotonic() - start:.0f} s", style="dim")


def _proofs(console: Console) -> list[Proof]:
    data = digits()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("training steps", total=2 * len(CASES) * steps_of(data))
        proofs = []
        for case in CASES:
            progress.console.rule(f"[bold]{case.title}", align="left")
            progress.console.print(case.subtitle, style="dim", markup=False)

            def say(before: Diagnosis, treatment: TreatmentRecord) -> None:
                _tell(progress.console, before, treatment)

            proofs.append(prove(case, data, say, lambda: progress.advance(task)))
        return proofs


def _tell(console: Console, before: Diagnosis, treatment: TreatmentRecord) -> None:
    """The chain in a few lines: findings, prescription, verdict after it."""
    colours = {"error": "red", "warning": "yellow", "note": "blue"}
    console.print("check")
    for finding in before.findings:
        because = f" [dim](because of {finding.cause})[/]" if finding.cause else ""
        console.print(
            f"  [{colours[finding.severity]}]{finding.severity}[/] [bold]{finding.rule}[/] at layer "
            f"{finding.layer}{because}"
        )
        if not finding.cause:
            console.print(f"    {finding.explanation}", markup=False)
    console.print("treat")
    for sentence in treatment.describe():
        console.print(f"  {sentence}", markup=False)
    verdict = "[green]healthy[/]" if treatment.after.ok else "[red]still sick[/]"
    console.print(f"check again\n  {verdict}  ({treatment.reason})\n")


def _report(proofs: list[Proof]) -> Report:
    cases = tuple(
        Case(
            proof.case.title,
            proof.case.subtitle,
            proof.before,
            proof.treatment.after if proof.treatment.kept else None,
            tuple(proof.treatment.describe()),
            proof.treatment.to_code(),
            (_curve("untreated", proof.untreated), _curve("treated", proof.treated)),
        )
        for proof in proofs
    )
    return Report("evenflow demo: three sick networks, treated", cases, (BUDGET,))


def _curve(label: str, run: Run) -> Curve:
    return Curve(label, run.steps, run.loss, run.accuracy)
