"""Run the demo's networks, tell what happens, and put the proofs in a report."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from evenflow.data import Split
from evenflow.demo import CASES, Proof, Run, prove
from evenflow.demo.training import BATCH, LEARNING_RATE, MOMENTUM, steps_of
from evenflow.diagnose import Diagnosis, Finding, TreatmentRecord
from evenflow.report import Case, Curve, Report
from evenflow.report.numbers import accuracy

TITLE = "evenflow demo: three sick networks, treated"
COLOURS = {"error": "red", "warning": "yellow", "note": "blue"}


def prove_all(data: Split, epochs: int, console: Console) -> list[Proof]:
    """Prove every case, with a progress bar where the console is a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("training steps", total=2 * len(CASES) * steps_of(data, epochs))
        proofs = []
        for case in CASES:
            console.rule(f"[bold]{case.title}", align="left")
            console.print(case.subtitle, style="dim", markup=False)
            proofs.append(prove(case, data, lambda *told: tell(console, *told), lambda: progress.advance(task), epochs))
        return proofs


def tell(console: Console, before: Diagnosis, treatment: TreatmentRecord) -> None:
    """Print the chain in a few lines: findings, prescription, verdict after it."""
    console.print("check")
    for finding in before.findings:
        console.print(_indented(2, _headline(finding)))
        if not finding.cause:
            console.print(_indented(4, Text(finding.explanation)))
    console.print("treat")
    for sentence in treatment.describe():
        console.print(_indented(2, Text(sentence)))
    console.print("check again")
    verdict = ("healthy", "green") if treatment.after.ok else ("still sick", "red")
    console.print(_indented(2, Text.assemble(verdict, f"  ({treatment.reason})\n")))


def _headline(finding: Finding) -> Text:
    text = Text.assemble(
        (finding.severity, COLOURS[finding.severity]), " ", (finding.rule, "bold"), f" at {finding.layer}"
    )
    return text.append(f" (because of {finding.cause})", "dim") if finding.cause else text


def _indented(spaces: int, text: Text) -> Padding:
    return Padding(text, (0, 0, 0, spaces), expand=False)


def report(proofs: Sequence[Proof], footnote: str) -> Report:
    """The report on all cases."""
    return Report(TITLE, tuple(map(_case, proofs)), (footnote,))


def budget(data: Split, epochs: int) -> str:
    """What every network was given, and what one that learns nothing can score."""
    commonest = data.targets.mode().values
    ignorant = float((data.test_targets == commonest).float().mean())
    return (
        f"Every network was trained on {len(data.inputs):,} digits and tested on {len(data.test_inputs):,} others: SGD "
        f"with momentum {MOMENTUM}, a learning rate that falls from {LEARNING_RATE} to 0, and batches of {BATCH}, for "
        f"{epochs} epochs in the same order of batches. Whoever always answers {commonest}, the commonest digit in "
        f"training, scores {accuracy(ignorant)}."
    )


def _case(proof: Proof) -> Case:
    return Case(
        proof.case.title,
        proof.case.subtitle,
        proof.before,
        proof.treatment.after if proof.treatment.kept else None,
        tuple(proof.treatment.describe()),
        proof.treatment.to_code(),
        (_curve("untreated", proof.untreated), _curve("treated", proof.treated)),
    )


def _curve(label: str, run: Run) -> Curve:
    return Curve(label, run.steps, run.loss, run.accuracy)
