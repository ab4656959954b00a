"""`evenflow check`: diagnose a model from a file."""

import sys
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

SICK = 1


class Format(StrEnum):
    """How a diagnosis is printed."""

    text = "text"
    json = "json"
    html = "html"


def check_command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="FILE.py:NAME or package.module:NAME of a Module, or of a function or class that gives one.",
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help="digits (N, 64), digits-images (N, 1, 8, 8), or FILE.py:NAME of a batch, list of batches, DataLoader, "
            "Dataset, or function that returns or yields one."
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
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of torch before the model is built.")] = 0,
) -> None:
    """Find the layer where the signal of a model vanishes, explodes, saturates or dies, and say what to do.

    Exits with 0 when the model is healthy, 1 when it found errors, 2 when the call was wrong.

    JSON is one object: evenflow (version), model, ok, findings, prescription, record, treatment (null if untreated).
    """
    import torch

    from evenflow.cli import show
    from evenflow.cli.batch import load_batch
    from evenflow.cli.destination import require_page, write_page
    from evenflow.cli.loss import load_loss
    from evenflow.cli.model import load_model
    from evenflow.cli.output import say_where
    from evenflow.cli.user_code import running
    from evenflow.diagnose import check, treat_

    if html is not None:
        require_page(html)
    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the diagnosis
        torch.manual_seed(seed)
        network, batch, loss_fn = load_model(model), load_batch(data), load_loss(loss) if loss else None
        with running("checking the model"):
            before = check(network, batch, loss_fn)
            treatment = treat_(network, before) if treat else None
    show.PRINT[output](model, before, treatment)
    if html is not None:
        write_page(show.report(model, before, treatment), html)
        say_where(html)
    verdict = treatment.after if treatment else before
    raise typer.Exit(0 if verdict.ok else SICK)
