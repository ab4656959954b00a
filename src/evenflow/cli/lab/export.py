"""`evenflow lab export`: the trials as a table."""

from pathlib import Path
from typing import Annotated

import typer

from evenflow.cli.lab.options import DEFAULT_STORE, STORE


def export_command(
    output: Annotated[Path, typer.Option("-o", "--output", help="The file: .csv or .parquet.")],
    store: Annotated[Path, STORE] = DEFAULT_STORE,
    claim: Annotated[str | None, typer.Option(help="The id of one claim; without it, of all.")] = None,
) -> None:
    """Write all trials as a table, one row a trial.

    Columns: the trial's own, `config.NAME` and `metric.NAME` for every name, and, in Parquet, `curve.NAME` as lists.
    """
    from evenflow.cli.output import say
    from evenflow.errors import DestinationError
    from evenflow.lab.store import Store
    from evenflow.lab.store.export import write_csv, write_parquet

    ways = {".csv": write_csv, ".parquet": write_parquet}
    if output.suffix not in ways:
        raise DestinationError(f"--output {output} must end in .csv or .parquet")
    if not output.parent.is_dir():
        raise DestinationError(
            f"--output {output}: there is no folder {output.parent}; create it, or name another file"
        )
    with Store(store, create=False) as opened:
        rows = opened.rows(claim)
    ways[output.suffix](rows, output)
    say("trials", "bold", f"{len(rows):,} in {output.resolve()}")
