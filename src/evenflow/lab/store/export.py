"""The trials as a table for other programs."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evenflow.errors import DestinationError, MissingExtraError
from evenflow.lab.records import TrialRow

OWN = ("id", "claim", "status", "seconds", "finished", "measured_by", "code", "error")


def table(rows: Sequence[TrialRow]) -> list[dict[str, Any]]:
    """One dict a trial: its own columns, `config.NAME`, `metric.NAME`."""
    return [
        {name: getattr(row, name) for name in OWN}
        | {f"config.{name}": value for name, value in json.loads(row.config).items()}
        | {f"metric.{name}": value for name, value in row.metrics.items()}
        for row in rows
    ]


def write_csv(rows: Sequence[TrialRow], path: Path) -> None:
    """Write the trials as CSV; curves do not fit one, and are left out.

    Raises:
        DestinationError: The file cannot be written.
    """
    found = table(rows)
    names = _names(found)
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(found)
    except OSError as error:
        raise DestinationError(f"{path} cannot be written ({error.strerror}); name another file") from None


def write_parquet(rows: Sequence[TrialRow], path: Path) -> None:
    """Write the trials as Parquet, with the curves as lists of numbers, `curve.NAME`.

    Raises:
        MissingExtraError: PyArrow is not installed.
        DestinationError: The file cannot be written.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError("Parquet needs PyArrow, which is not installed: pip install 'evenflow[lab]'") from error
    found = table(rows)
    for one, row in zip(found, rows, strict=True):
        one.update({f"curve.{name}": list(points) for name, points in row.curves.items()})
    columns = {name: pyarrow.array(_alike([one.get(name) for one in found])) for name in _names(found)}
    try:
        parquet.write_table(pyarrow.table(columns), path)
    except OSError as error:
        raise DestinationError(f"{path} cannot be written ({error}); name another file") from None


def _alike(values: list[Any]) -> list[Any]:
    """The values with one type a column: text where claims use a name for different types."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        return values
    return [None if value is None else str(value) for value in values]


def _names(found: Sequence[dict[str, Any]]) -> list[str]:
    rest = sorted({name for one in found for name in one if name not in OWN})
    return [*OWN, *rest]
