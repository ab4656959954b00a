"""What a batch may look like, what is said of everything else, and how it is handed to the model."""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from evenflow.errors import BatchError
from evenflow.probe.batch import copied, is_signal, main_tensor, parse_batch, tensors_in

X, Z, Y = torch.randn(4, 6), torch.randn(4, 2), torch.arange(4)
Point = namedtuple("Point", ["x", "y"])


@dataclass
class Item:
    x: torch.Tensor
    label: str = "a"
    rest: list = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FrozenItem:
    x: torch.Tensor


def same(found, expected):
    return len(found) == len(expected) and all(a is b for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("batch", "args", "kwargs", "targets"),
    [
        (X, (X,), {}, None),
        ((X,), (X,), {}, None),
        ([X], (X,), {}, None),
        ((X, Y), (X,), {}, Y),
        ([X, Y], (X,), {}, Y),
        ((X, None), (X,), {}, None),
        (((X, Z), Y), (X, Z), {}, Y),
        (([X, Z], Y), (X, Z), {}, Y),
        (({"x": X}, Y), (), {"x": X}, Y),
        ({"x": X, "labels": Y}, (), {"x": X, "labels": Y}, None),
        (OrderedDict(x=X), (), {"x": X}, None),
        (UserDict(x=X), (), {"x": X}, None),
        (Point(X, Y), (X,), {}, Y),
        ((Point(X, Z), Y), (X, Z), {}, Y),
        ((X, {"boxes": Y}), (X,), {}, {"boxes": Y}),
    ],
)
def test_every_form(batch, args, kwargs, targets):
    parsed = parse_batch(batch)
    assert same(parsed.args, args)
    assert list(parsed.kwargs) == list(kwargs)
    assert same(parsed.kwargs.values(), kwargs.values())
    assert parsed.targets is targets or parsed.targets == targets
    assert parsed.samples == 4


def test_a_loader_gives_batches_in_the_right_form():
    loader = DataLoader(TensorDataset(X, Y), batch_size=2)
    parsed = parse_batch(next(iter(loader)))
    assert torch.equal(parsed.args[0], X[:2])
    assert torch.equal(parsed.targets, Y[:2])


FORMS = r"a tensor, \(inputs, targets\), or a dict of keyword inputs"


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (None, rf"must be {FORMS}; got NoneType$"),
        (3, rf"must be {FORMS}; got int$"),
        (DataLoader(TensorDataset(X, Y)), r"got DataLoader: take one batch of it with next\(iter\(\.\.\.\)\)"),
        ((batch for batch in [X]), r"got generator: take one batch of it with next"),
        (X.numpy(), r"got ndarray: convert it with torch.as_tensor"),
        ((X, Z, Y), r"batch of 3 parts is ambiguous; pass \(inputs, targets\).*\(\(first, second\), targets\)"),
        ((), r"batch of 0 parts is ambiguous"),
        ([X, X, X, X], r"batch of 4 parts is ambiguous"),
        ({1: X}, r"keys must be strings; got 1"),
        (({"x": X, None: X}, Y), r"keys must be strings; got None"),
        ({}, rf"holds no input tensor \(but nothing\); pass {FORMS}"),
        (((), Y), r"holds no input tensor \(but nothing\)"),
        ((X.numpy(), Y), r"holds no input tensor \(but ndarray\).*torch.as_tensor converts arrays"),
        (([1.0, 2.0], Y), r"holds no input tensor \(but float, float\)"),
        ((None, Y), r"holds no input tensor \(but NoneType\)"),
        (torch.zeros(0, 6), r"is empty \(its first input has shape \(0, 6\)\); pass at least one sample, better 32"),
        ((torch.zeros(4, 0), Y), r"is empty.*\(4, 0\)"),
        ({"x": torch.zeros(0)}, r"is empty"),
    ],
)
def test_what_is_no_batch(batch, message):
    with pytest.raises(BatchError, match=message):
        parse_batch(batch)


def test_a_zero_dimensional_tensor_is_one_sample():
    assert parse_batch(torch.tensor(1.0)).samples == 1


def test_inputs_are_named_by_position_or_keyword():
    batch = parse_batch(((X, [Z, Y], {"a": X}), None))
    assert [name for name, _ in batch.named_tensors()] == ["0", "1.0", "1.1", "2"]
    assert batch.describe() == "(4, 6) float32 and (4, 2) float32 and (4,) int64 and (4, 6) float32"
    assert [name for name, _ in parse_batch({"ids": Y, "mask": Z}).named_tensors()] == ["ids", "mask"]


def test_the_model_gets_copies():
    class Spoiling(nn.Module):
        def forward(self, x, extra, *, flags):
            return x.zero_(), extra["z"].zero_(), flags[0].zero_()

    x, z, y = X.clone(), Z.clone(), Y.clone()
    parsed = parse_batch(((x,), None))
    assert parsed.run(nn.ReLU(inplace=True)).min() == 0
    parsed = parse_batch(({"x": x, "extra": {"z": z}, "flags": [y]}, None))
    parsed.run(Spoiling())
    assert torch.equal(x, X)
    assert torch.equal(z, Z)
    assert torch.equal(y, Y)


# Structures


@pytest.mark.parametrize(
    "value",
    [
        (X, Z),
        [X, [Z]],
        {"a": X, "b": {"c": Z}},
        OrderedDict(a=X, b=Z),
        UserDict(a=X, b=Z),
        Point(X, Z),
        Item(X, rest=[Z]),
        (FrozenItem(X), Z),
    ],
)
def test_structures_are_searched_and_copied(value):
    assert same(list(tensors_in(value)), [X, Z])
    twin = copied(value)
    assert type(twin) is type(value)
    for mine, theirs in zip(tensors_in(twin), (X, Z), strict=True):
        assert mine is not theirs
        assert mine.data_ptr() != theirs.data_ptr()
        assert torch.equal(mine, theirs)
    assert same(list(tensors_in(value)), [X, Z])


@pytest.mark.parametrize("value", [3, "text", None, Item, np.ones(3), object()])
def test_other_values_are_passed_as_they_are(value):
    assert list(tensors_in(value)) == []
    assert copied(value) is value


def test_copies_require_a_gradient_where_the_originals_do():
    x = torch.ones(3, requires_grad=True)
    twin = copied((x, X))
    assert twin[0].requires_grad
    assert twin[0].is_leaf
    assert not twin[1].requires_grad


def test_packed_sequences_are_copied():
    packed = nn.utils.rnn.pack_sequence([torch.ones(3, 2), torch.ones(2, 2)])
    twin = copied(packed)
    assert type(twin) is type(packed)
    assert torch.equal(twin.batch_sizes, packed.batch_sizes)
    assert nn.GRU(2, 2)(twin)[1].shape == (1, 2, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (X, True),
        (X.half(), True),
        (X.to(torch.complex64), True),
        (Y, False),
        (X > 0, False),
        (X.to_sparse(), False),
        (None, False),
        (1.0, False),
    ],
)
def test_a_signal_is_a_dense_real_or_complex_tensor(value, expected):
    assert is_signal(value) is expected


# The output that predicts


class WithLogits:
    def __init__(self, logits):
        self.logits = logits


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (X, X),
        ((X, Z), X),
        ((Y, Z), Z),
        ({"hidden": Z, "logits": X}, X),
        ({"loss": Z, "hidden": X}, X),
        ({"loss": X}, X),
        ({"logits": None, "hidden": X}, X),
        (WithLogits(X), X),
        (WithLogits(Y), None),
        (Item(X), X),
        (Point(X, Z), X),
        ([{"a": (Y, X)}], X),
        (None, None),
        (Y, None),
        (3, None),
    ],
)
def test_the_main_tensor_of_an_output(output, expected):
    assert main_tensor(output) is expected
