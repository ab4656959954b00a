"""Initialise a part of a model, and leave the rest as it was loaded."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from torch import nn

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.planning.row import Row
from evenflow.probe import unwrapped

# What a module may save beside its tensors, under such a name.
EXTRA_STATE = "_extra_state"


def names_in(only: object, model: nn.Module) -> list[str]:
    """The names as the module inside of compiled and data-parallel wrappers has them.

    Args:
        only: Names as the model or its wrapper has them, such as the missing keys of a checkpoint.
        model: The model, perhaps wrapped.

    Raises:
        ParameterTypeError: It is no collection of strings.
    """
    if isinstance(only, str) or not isinstance(only, Iterable):
        raise ParameterTypeError(f"only must be a list of names of parameters, buffers or modules; got {only!r}")
    names = list(only)
    strange = [name for name in names if not isinstance(name, str)]
    if strange:
        raise ParameterTypeError(f"only must hold names of parameters, buffers or modules; got {strange[0]!r}")
    prefix = _prefix(model)
    return [name.removeprefix(prefix) for name in names if name.rpartition(".")[2] != EXTRA_STATE]


def _prefix(model: nn.Module) -> str:
    """What the wrappers of a model put before its names."""
    inner = unwrapped(model)
    found = next(name for name, module in model.named_modules(remove_duplicate=False) if module is inner)
    return f"{found}." if found else ""


def only_these(rows: dict[str, Row], names: Sequence[str], notes: list[str]) -> dict[str, Row]:
    """Keep every tensor but those named: by their own name, or the name of a module that holds them.

    A tied tensor has several names. Where they are given one by one, as the missing keys of a checkpoint are, all of
    them have to be: a checkpoint that holds one of them holds the tensor.

    Args:
        rows: The rows.
        names: The names.
        notes: Where to say what was named and still left alone.

    Raises:
        ParameterValueError: Nothing has such a name.
    """
    for name in names:
        _require_known(rows, name)
    given = set(names)
    return {key: row if _is_chosen(row, given, notes) else _kept(row) for key, row in rows.items()}


def _is_chosen(row: Row, given: set[str], notes: list[str]) -> bool:
    own = (row.name, *row.aliases)
    modules = {name[:place] for name in own for place, letter in enumerate(name) if letter == "."}
    if given & modules or given.issuperset(own):
        return True
    named = [name for name in own if name in given]
    if named:
        other = next(name for name in own if name not in given)
        notes.append(f"{named[0]}: it is the same tensor as {other}, which was not asked for, so it stays what it is")
    return False


def _kept(row: Row) -> Row:
    return replace(row, rule="keep", options={}, gain=None, aim=None, reason="not among those that were asked for")


def _require_known(rows: dict[str, Row], name: str) -> None:
    known = [own for row in rows.values() for own in (row.name, *row.aliases)]
    if not any(own == name or own.startswith(f"{name}.") for own in known):
        close = difflib.get_close_matches(name, known, n=2)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise ParameterValueError(f"only names {name!r}, which is no parameter, buffer or module of the model{hint}")
