"""A user's data set for the lab: read once, cut in two, kept in a file that every worker can read."""

from collections.abc import Sized
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from evenflow.cli.source import load_object
from evenflow.cli.user_code import called, kind, running
from evenflow.data import Split, write_split
from evenflow.errors import SourceError
from evenflow.lab.training.data import SETS

PARTS = 4
PAIR = 2
TEST_SHARE = 0.2


def data_name(source: str | None, store: Path) -> str | None:
    """What trials call the data: a built-in name, or the path of a file that holds the user's.

    The file lies beside the store and is named by what it holds, so that other data are other trials.

    Raises:
        SourceError: The source leads to no data set of inputs and classes.
    """
    if source is None or source in SETS:
        return source
    if ":" not in source:
        raise SourceError(f"there is no data set {source!r}; use {', '.join(SETS)}, or give your own as FILE.py:NAME")
    split = as_split(load_object(source, "data"), source)
    digest = blake2b(digest_size=8)
    for part in (split.inputs, split.targets, split.test_inputs, split.test_targets):
        digest.update(part.numpy().tobytes())
    path = store.resolve().with_name(f"{store.stem}-data-{digest.hexdigest()}.safetensors")
    if not path.exists():
        write_split(split, path)
    return str(path)


def as_split(found: Any, source: str) -> Split:
    """Make a training and a test set of (inputs, targets), four tensors, a Split, Dataset or DataLoader.

    Of data that are not cut yet, a fifth, drawn by a fixed seed, is the test set. Inputs are flattened and
    standardised by the mean and standard deviation of the training inputs.

    Raises:
        SourceError: It is something else, or empty.
    """
    if callable(found) and not isinstance(found, (Dataset, DataLoader)):
        found = called(found, source, "a data set")
    if isinstance(found, Split):
        return found
    if isinstance(found, (Dataset, DataLoader)):
        with running(f"reading {source}"):
            found = _stacked(found)
    if not isinstance(found, (tuple, list)) or len(found) not in (PAIR, PARTS):
        raise SourceError(f"{source} gave {kind(found)}; it must be (inputs, targets), four tensors, or a Dataset")
    with running(f"reading {source}"):
        parts = [torch.as_tensor(part) for part in found]
    inputs, targets = parts[0], parts[1]
    if len(inputs) != len(targets) or len(inputs) < PAIR:
        raise SourceError(
            f"{source} has {len(inputs)} inputs and {len(targets)} targets; there must be as many, 2 at least"
        )
    if len(parts) == PAIR:
        parts = _cut(inputs, targets)
    return _standardised(*parts)


def _stacked(found: Dataset[Any] | DataLoader[Any]) -> tuple[Tensor, Tensor]:
    loader = found if isinstance(found, DataLoader) else DataLoader(found, batch_size=256)
    if isinstance(found, Dataset) and isinstance(found, Sized) and len(found) == 0:
        raise SourceError("the data set is empty; it must hold at least two samples")
    inputs, targets = zip(*loader, strict=True)
    return torch.cat(inputs), torch.cat(targets)


def _cut(inputs: Tensor, targets: Tensor) -> list[Tensor]:
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    test = max(1, int(TEST_SHARE * len(inputs)))
    return [inputs[order[test:]], targets[order[test:]], inputs[order[:test]], targets[order[:test]]]


def _standardised(inputs: Tensor, targets: Tensor, test_inputs: Tensor, test_targets: Tensor) -> Split:
    flat, test = (part.flatten(1).float() for part in (inputs, test_inputs))
    mean, std = flat.mean(), flat.std().clamp(min=1e-12)
    return Split((flat - mean) / std, targets.long(), (test - mean) / std, test_targets.long())
