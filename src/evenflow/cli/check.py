"""`evenflow check`: diagnose a model from a file."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console

from evenflow.cli.inputs import load_batch, load_loss, load_model
from evenflow.diagnose import Diagnosis, TreatmentRecord, check, treat_
from evenflow.report import Case, Report, html_page, terminal

SICK = 1


class Format(StrEnum):
    """How a diagnosis is printed."""

    text = "text"
    json = "json"
    html = "html"


def check_command(
    model: Annotated[
        str,
        typer.Argument(help="FILE.py:NAME or package.module:NAME of a Module, or of a function that returns one."),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="digits, digits-images, or FILE.py:NAME of a batch, loader, data set, or function that returns one."
        ),
    ] = "digits",
    loss: Annotated[
        str | None,
        typer.Option(
            help="A loss of torch.nn.functional, such as mse_loss, or FILE.py:NAME. Default: guessed from the targets."
        ),
    ] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print the diagnosis.")] = Format.text,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained page to this file.")] = None,
    treat: Annotated[
        bool,
        typer.Option("--treat", help="Apply the prescription in memory, check again, and exit by that verdict."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of torch before the model is built.")] = 0,
) -> None:
    """Find the layer where the signal of a model vanishes, explodes, saturates or dies, and say what to do.

    Exits with 0 when the model is healthy, 1 when there are errors, 2 when the call was wrong. --debug shows
    tracebacks.
    """
    torch.manual_seed(seed)
    network = load_model(model)
    batch = load_batch(data)
    loss_fn = load_loss(loss) if loss else None
    before = check(network, batch, loss_fn)
    treatment = treat_(network, before) if treat else None
    _print(output, model, before, treatment)
    if html is not None:
        html.write_text(html_page(_report(model, before, treatment)), encoding="utf-8")
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"report: {html.resolve()}", markup=False)
    verdict = before if treatment is None else treatment.after
    raise typer.Exit(0 if verdict.ok else SICK)


def _print(output: Format, model: str, before: Diagnosis, treatment: TreatmentRecord | None) -> None:
    if output is Format.json:
        told: dict[str, Any] = before.to_dict()
        if treatment is not None:
            told["treatment"] = treatment.to_dict()
        sys.stdout.write(json.dumps(told, indent=2, allow_nan=False) + "\n")
    elif output is Format.html:
        sys.stdout.write(html_page(_report(model, before, treatment)) + "\n")
    else:
        console = Console(highlight=False)
        console.print(terminal(before))
        if treatment is not None:
            console.print()
            console.rule("treated" if treatment.kept else "not treated", align="left")
            console.print(treatment.reason, markup=False)
            if treatment.kept:
                console.print(terminal(treatment.after))


def _report(model: str, before: Diagnosis, treatment: TreatmentRecord | None) -> Report:
    case = Case(model, before.record.model, before)
    if treatment is not None and treatment.kept:
        case = Case(
            model,
            before.record.model,
            before,
            treatment.after,
            tuple(treatment.describe()),
            treatment.to_code(),
        )
    return Report(model, (case,))
