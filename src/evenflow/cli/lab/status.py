"""`evenflow lab status`: how far a run is, also while it runs."""

import os
import platform
from pathlib import Path
from typing import Annotated

from evenflow.cli.lab.options import DEFAULT_STORE, STORE


def status_command(store: Annotated[Path, STORE] = DEFAULT_STORE) -> None:
    """Show how far the last run is, claim by claim."""
    from rich.table import Table

    from evenflow.cli.output import Output
    from evenflow.lab.store import Store

    with Store(store, create=False) as opened:
        runs, failures = opened.runs(), opened.failures()
    output = Output()
    if not runs:
        output.print(f"{store}: nothing was run yet", markup=False)
        return
    run = runs[-1]
    table = Table(box=None, pad_edge=False)
    for name in ("claim", "trials", "measured", "left", "failed"):
        table.add_column(name, justify="left" if name == "claim" else "right")
    for claim, (trials, missing, done) in run.claims.items():
        left = max(0, missing - done)
        table.add_row(claim, str(trials), str(trials - left), str(left), str(failures.get(claim, 0)))
    output.print(table)
    output.print(f"\n{run.command}\n{_state(run)}", markup=False, soft_wrap=True)


def _state(run) -> str:  # type: ignore[no-untyped-def]  # a Progress, which is imported where it is made
    from datetime import datetime

    started, seen = datetime.fromisoformat(run.started), datetime.fromisoformat(run.seen)
    if run.ended is not None:
        return f"{run.how} {run.ended[:19].replace('T', ' ')} UTC"
    if run.host == platform.node() and not _alive(run.process):
        return "killed: the same command goes on from where it was"
    missing = sum(claim[1] for claim in run.claims.values())
    done = sum(claim[2] for claim in run.claims.values())
    if not done:
        return f"running since {started:%H:%M:%S} UTC on {run.workers} workers"
    left = (seen - started).total_seconds() * (missing - done) / done
    return f"running on {run.workers} workers: {done} of {missing} trials, about {left / 60:.1f} minutes left"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
