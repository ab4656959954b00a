"""From the words of the command line to a model, a batch and a loss."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from evenflow.cli.source import load_object
from evenflow.data import BUILT_IN, built_in
from evenflow.errors import SourceError
from evenflow.probe.guard import told_as

SAMPLES = 256


def load_model(source: str) -> nn.Module:
    """The module that the source names, or that the callable there returns.

    Raises:
        SourceError: It leads to nothing of the kind, or the callable raises.
    """
    found = load_object(source, "model")
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise SourceError(f"{source} is {_kind(found)}; it must be a torch.nn.Module or a function that returns one")
    with told_as(SourceError, lambda error: f"{source} raised {error}; it is called without arguments"):
        model = found()
    if not isinstance(model, nn.Module):
        raise SourceError(f"{source} returned {_kind(model)}; it must return a torch.nn.Module")
    return model


def load_batch(source: str) -> object:
    """A batch: of a built-in set, or what the source names or its callable returns, or the first that that yields.

    Raises:
        SourceError: It leads to nothing of the kind, raises, or yields nothing.
    """
    if source in BUILT_IN:
        return built_in(source)
    if ":" not in source:
        raise SourceError(
            f"there is no built-in data set {source!r}; use {' or '.join(BUILT_IN)}, or give your own as FILE.py:NAME"
        )
    found = load_object(source, "data")
    if callable(found) and not isinstance(found, (DataLoader, Dataset)):
        with told_as(SourceError, lambda error: f"{source} raised {error}; it is called without arguments"):
            found = found()
    return _first_batch(found, source)


def load_loss(source: str) -> Callable[..., Tensor]:
    """A loss function: a name in `torch.nn.functional`, such as "mse_loss", or a source.

    Raises:
        SourceError: There is no such function.
    """
    if ":" not in source:
        loss = getattr(functional, source, None)
        if not callable(loss):
            raise SourceError(
                f"torch.nn.functional has no loss {source!r}; use a name such as mse_loss, or give your own as "
                "FILE.py:NAME"
            )
        return loss  # type: ignore[no-any-return]  # torch.nn.functional is a module of untyped attributes
    found = load_object(source, "loss")
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = found()
    if not callable(found):
        raise SourceError(f"{source} is {_kind(found)}; it must be a function loss(output, targets)")
    return found


def _first_batch(found: Any, source: str) -> object:
    if isinstance(found, Dataset):
        found = _loader(found, source)
    if _is_batch(found):
        return found
    if not isinstance(found, Iterable):
        raise SourceError(
            f"{source} gave {_kind(found)}; it must be a batch, (inputs, targets), or something that yields batches"
        )
    with told_as(SourceError, lambda error: f"iterating over {source} raised {error}"):
        first = next(iter(found), None)
    if first is None:
        raise SourceError(f"{source} yields nothing; it must yield at least one batch")
    return first


def _loader(dataset: Dataset[Any], source: str) -> DataLoader[Any]:
    if not hasattr(dataset, "__len__"):
        return DataLoader(dataset, batch_size=SAMPLES)
    if len(dataset) == 0:
        raise SourceError(f"the data set {source} is empty")
    return DataLoader(dataset, batch_size=min(SAMPLES, len(dataset)), shuffle=True)


def _is_batch(found: object) -> bool:
    if isinstance(found, (Tensor, Mapping)):
        return True
    if isinstance(found, tuple):
        return bool(found) and isinstance(found[0], (Tensor, Mapping, tuple, list)) and not _is_pair(found[0])
    return isinstance(found, list) and bool(found) and all(isinstance(part, Tensor) for part in found)


def _is_pair(first: object) -> bool:
    """Whether the first of a tuple is a whole batch, so that the tuple holds batches."""
    integers = {torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8}
    return (
        isinstance(first, (tuple, list))
        and len(first) == 2
        and all(isinstance(part, Tensor) for part in first)
        and first[1].dtype in integers
        and first[0].is_floating_point()
    )


def _kind(found: object) -> str:
    return "None" if found is None else f"a {type(found).__name__}"
