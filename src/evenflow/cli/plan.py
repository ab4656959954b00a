"""`evenflow plan`: what every parameter of a model should become, and why."""

import json
import sys
from contextlib import redirect_stdout
from enum import StrEnum
from typing import Annotated

import typer

UNKNOWN = 1

MODEL = typer.Argument(
    metavar="MODEL",
    help="FILE.py:NAME or package.module:NAME of a Module, or of a function or class that gives one.",
)
DATA = typer.Option(
    help="A batch to follow through the model: digits (N, 64), digits-images (N, 1, 8, 8), or FILE.py:NAME of a batch, "
    "DataLoader, Dataset or function. Default: none; the plan is made from the modules alone."
)
SCHEME = typer.Option(help="auto, torch, lsuv, orthogonal, he_normal, ...; see `evenflow.plan`.")
SEED = typer.Option(min=0, max=2**32 - 1, help="Seed of torch before the model is built, and of the draws.")


class Format(StrEnum):
    """How a plan is printed."""

    text = "text"
    json = "json"
    toml = "toml"


def plan_command(
    model: Annotated[str, MODEL],
    data: Annotated[str | None, DATA] = None,
    scheme: Annotated[str, SCHEME] = "auto",
    diff: Annotated[str | None, typer.Option(help="Show only what this scheme would do differently.")] = None,
    output: Annotated[Format, typer.Option("--format", help="How to print the plan.")] = Format.text,
    seed: Annotated[int, SEED] = 0,
) -> None:
    """Decide what every parameter and buffer of a model should become, and say why. Nothing is written.

    Exits with 0, or 1 when something in the model is unknown, so that it would stay what it is; 2 when the call was
    wrong. TOML and JSON can be edited and given to `evenflow init --plan`.
    """
    import torch

    from evenflow.cli.batch import load_batch
    from evenflow.cli.model import load_model
    from evenflow.cli.output import Output
    from evenflow.cli.user_code import running
    from evenflow.errors import ParameterValueError
    from evenflow.planning import plan

    if diff is not None and output is Format.toml:
        raise ParameterValueError("--diff is printed as text or json, not as toml")
    with redirect_stdout(sys.stderr):  # what the user's code prints is no part of the plan
        torch.manual_seed(seed)
        network, batch = load_model(model), load_batch(data) if data else None
        with running("planning the model"):
            made = plan(network, batch, scheme, seed=seed)
            changes = None if diff is None else made.diff(diff)
    if output is Format.text:
        Output().print(made if changes is None else changes)
    elif output is Format.json:
        sys.stdout.write(made.to_json() if changes is None else json.dumps(changes.to_dict(), indent=2) + "\n")
    else:
        sys.stdout.write(made.to_toml())
    raise typer.Exit(UNKNOWN if made.unknown else 0)
