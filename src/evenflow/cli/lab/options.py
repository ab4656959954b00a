"""Arguments and options that several commands of the lab take."""

from enum import StrEnum
from pathlib import Path

import typer

DEFAULT_STORE = Path("evenflow-lab.db")

CLAIMS = typer.Argument(metavar="[CLAIM]...", help="Ids such as T1, or files that end in .py; none means all.")
STORE = typer.Option("--store", help="The SQLite file of results.")
SEED = typer.Option("--seed", min=0, max=10**6, help="Base seed: runs with different ones share no trial.")


class Size(StrEnum):
    """How much a run may cost."""

    quick = "quick"
    normal = "normal"
    full = "full"
