"""Initialise a part of a model, and leave the rest as it was loaded."""

import difflib
from collections.abc import Sequence
from dataclasses import replace

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.planning.row import Row


def only_these(rows: dict[str, Row], names: Sequence[str]) -> dict[str, Row]:
    """Keep every tensor but those named: by their own name, an alias, or the name of a module that holds them.

    Raises:
        ParameterTypeError: A name is no string.
        ParameterValueError: Nothing has such a name.
    """
    chosen = {row.name for name in names for row in _named(rows, name)}
    return {
        name: row
        if name in chosen
        else replace(row, rule="keep", options={}, gain=None, aim=None, reason="not among those that were asked for")
        for name, row in rows.items()
    }


def _named(rows: dict[str, Row], name: str) -> list[Row]:
    if not isinstance(name, str):
        raise ParameterTypeError(f"only must hold names of parameters; got {name!r}")
    found = [
        row
        for row in rows.values()
        if any(own == name or own.startswith(f"{name}.") for own in (row.name, *row.aliases))
    ]
    if not found:
        close = difflib.get_close_matches(name, list(rows), n=2)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ParameterValueError(f"only names {name!r}, which is no parameter, buffer or module of the model{hint}")
    return found
