"""From the name of a built-in set, or `FILE.py:NAME`, to one batch."""

import difflib
from collections.abc import Iterable, Mapping, Sized
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from evenflow.cli.source import load_object
from evenflow.cli.user_code import called, kind, running
from evenflow.data import BUILT_IN, built_in
from evenflow.errors import SourceError

SAMPLES = 256
NOTHING = object()


def load_batch(source: str) -> object:
    """A batch of a built-in set, or the first that the source has to give.

    The source may name a batch, a list of batches, a DataLoader, a Dataset (256 of its samples are taken), or a
    function that returns or yields any of them. A tuple or a dict is one batch, and so is a list of tensors.

    Raises:
        SourceError: It leads to nothing of the kind, raises, or yields nothing.
        MissingExtraError: The package that carries the built-in set is not installed.
    """
    if source in BUILT_IN:
        return built_in(source)
    if ":" not in source:
        near = difflib.get_close_matches(source, BUILT_IN, 1)
        hint = f"did you mean {near[0]}?" if near else f"use {' or '.join(BUILT_IN)}, or give your own as FILE.py:NAME"
        raise SourceError(f"there is no built-in data set {source!r}; {hint}")
    found = load_object(source, "data")
    if callable(found) and not isinstance(found, (DataLoader, Dataset)):
        found = called(found, source, "a batch or something that yields batches")
    return _first_batch(found, source)


def _first_batch(found: Any, source: str) -> object:
    if _is_batch(found):
        return found
    if not isinstance(found, (Iterable, Dataset)):
        raise SourceError(
            f"{source} gave {kind(found)}; it must be a batch, (inputs, targets), or something that yields batches"
        )
    with running(f"taking the first batch of {source}"):
        first = next(iter(_loader(found, source) if isinstance(found, Dataset) else found), NOTHING)
    if first is NOTHING:
        raise SourceError(f"{source} yields nothing; it must yield at least one batch")
    if not isinstance(first, (Tensor, Mapping, tuple, list)):
        raise SourceError(
            f"{source} yields {kind(first)}; it must yield batches of tensors, such as (inputs, targets): convert "
            "arrays and numbers with torch.as_tensor"
        )
    return first


def _loader(dataset: Dataset[Any], source: str) -> DataLoader[Any]:
    if not isinstance(dataset, Sized):
        return DataLoader(dataset, batch_size=SAMPLES)
    if len(dataset) == 0:
        raise SourceError(f"the data set {source} is empty; it must hold at least one sample")
    return DataLoader(dataset, batch_size=min(SAMPLES, len(dataset)), shuffle=True)


def _is_batch(found: object) -> bool:
    if isinstance(found, list):
        return bool(found) and all(isinstance(part, Tensor) for part in found)
    return isinstance(found, (Tensor, Mapping, tuple))
