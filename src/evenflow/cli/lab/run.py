"""`evenflow lab run`: measure claims."""

import shlex
import sys
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evenflow.cli.lab.options import CLAIMS, DEFAULT_STORE, SEED, STORE, Size

if TYPE_CHECKING:
    from evenflow.lab.engines import Engine

FAILED = 1


class EngineName(StrEnum):
    """Where trials run."""

    local = "local"
    ray = "ray"


class OnChange(StrEnum):
    """What becomes of results that other code measured."""

    rerun = "rerun"
    refuse = "refuse"


def run_command(
    claims: Annotated[list[str] | None, CLAIMS] = None,
    budget: Annotated[
        Size, typer.Option(help="quick (six minutes on two cores), normal, or full (the sizes of the papers).")
    ] = Size.quick,
    store: Annotated[Path, STORE] = DEFAULT_STORE,
    engine: Annotated[
        EngineName, typer.Option(help="local: processes of this machine. ray: a Ray cluster.")
    ] = EngineName.local,
    address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster; without it, one is started on this machine.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time, one core each. Default: as many as there are cores.")
    ] = None,
    seed: Annotated[int, SEED] = 0,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, mnist, or FILE.py:NAME of (inputs, targets), a Dataset, or a function that returns one, to "
            "train classifiers on in place of a claim's own."
        ),
    ] = None,
    changed: Annotated[
        OnChange | None,
        typer.Option(
            help="When code or a prediction is not what it was when results were measured: rerun or refuse. Default: "
            "rerun after a change of code, refuse a changed prediction."
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Measure trials that failed in an earlier run again.")
    ] = False,
) -> None:
    """Measure claims, and judge each by the prediction that was fixed before.

    What is in the store is not measured again: a run that was stopped, or killed, goes on where it was.

    Exits with 0, 1 when a trial failed, 2 when the call was wrong, 130 when interrupted.
    """
    from evenflow.cli.lab.own_data import data_name
    from evenflow.cli.lab.progress import Shown
    from evenflow.errors import ParameterValueError
    from evenflow.lab.budget import Budget
    from evenflow.lab.catalogue import find
    from evenflow.lab.runner import run
    from evenflow.lab.store import Store

    if address is not None and engine is not EngineName.ray:
        raise ParameterValueError("--address is that of a Ray cluster; add --engine ray, or leave it out")
    sources = find(claims or ())
    with Store(store) as opened, _engine(engine, address, workers) as chosen, Shown() as shown:
        run(
            sources,
            opened,
            chosen,
            Budget(budget.value, seed, data_name(data, store)),
            shown,
            changed=None if changed is None else changed.value,
            retry_failed=retry_failed,
            command=shlex.join(["evenflow", *sys.argv[1:]]),
        )
    if shown.failed:
        raise typer.Exit(FAILED)


def _engine(name: EngineName, address: str | None, workers: int | None) -> "AbstractContextManager[Engine]":
    if name is EngineName.ray:
        from evenflow.lab.engines.ray import RayEngine

        return RayEngine(address, workers)
    from evenflow.lab.engines.local import LocalEngine

    return LocalEngine(workers)
