"""Initialising what a checkpoint lacks, and leaving alone what it brought."""

import pytest
import torch
from torch import nn

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.planning import initialize_, plan


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(torch.relu(self.norm(self.first(x))))


class Tied(nn.Module):
    """A table of tokens that is the output layer too, as in most language models."""

    def __init__(self):
        super().__init__()
        self.table, self.middle, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(torch.relu(self.middle(self.table(tokens))))


def missing_after(model, *absent):
    """Load twos for all but some names, and return the names that were missed."""
    checkpoint = {
        name: torch.full_like(value, 2) for name, value in model.state_dict().items() if not name.endswith(absent)
    }
    return model.load_state_dict(checkpoint, strict=False).missing_keys


def test_only_some_are_initialised_and_the_rest_is_as_it_was_loaded():
    model = Net()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    made = initialize_(model, torch.randn(8, 6), only=["last"])
    assert torch.equal(before["first.weight"], model.first.weight)
    assert not torch.equal(before["last.weight"], model.last.weight)
    assert set(made.audit.written) == {"last.weight", "last.bias"}
    assert made.row("last.weight").measured == pytest.approx(made.row("last.weight").aim, rel=0.05)


@pytest.mark.parametrize("batch", [None, torch.randn(8, 6)], ids=["structure", "batch"])
def test_missing_keys_of_a_checkpoint_are_what_is_initialised(batch):
    model = Net()
    missing = missing_after(model, "last.weight", "last.bias")
    assert set(initialize_(model, batch, only=missing).audit.written) == {"last.weight", "last.bias"}
    assert all((value == 2).all() for name, value in model.state_dict().items() if not name.startswith("last"))


@pytest.mark.parametrize("batch", [None, torch.arange(8)], ids=["structure", "batch"])
def test_a_tied_weight_that_came_under_its_other_name_is_not_missing(batch):
    model = Tied()
    missing = missing_after(model, "head.weight", "middle.weight")
    assert missing == ["middle.weight", "head.weight"]
    made = initialize_(model, batch, only=missing)
    assert made.audit.written == ("middle.weight",)
    assert (model.table.weight == 2).all()
    assert any("head.weight: it is the same tensor as table.weight" in note for note in made.notes)


def test_a_tied_weight_that_came_under_no_name_is_initialised():
    model = Tied()
    missing = missing_after(model, "head.weight", "table.weight")
    assert initialize_(model, only=missing).audit.written == ("table.weight",)


def test_a_module_is_initialised_with_what_it_shares():
    model = Tied()
    assert initialize_(model, only=["head"]).audit.written == ("table.weight",)


def compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("wrap", [compiled, nn.DataParallel, lambda model: nn.DataParallel(compiled(model))])
def test_missing_keys_may_have_the_names_of_a_wrapper(wrap):
    wrapped = wrap(Net())
    missing = missing_after(wrapped, "last.weight", "last.bias")
    assert not missing[0].startswith("last")
    assert set(initialize_(wrapped, only=missing).audit.written) == {"last.weight", "last.bias"}
    assert set(initialize_(wrapped, only=["first"]).audit.written) == {"first.weight", "first.bias"}


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        """Nothing to keep."""


def test_extra_state_is_no_tensor_and_no_mistake():
    model = WithExtraState(2, 2)
    missing = model.load_state_dict({}, strict=False).missing_keys
    assert "_extra_state" in missing
    assert len(initialize_(model, only=missing).audit.written) == 2


def test_nothing_is_missing_and_nothing_is_written():
    assert initialize_(Net(), only=[]).audit.written == ()


@pytest.mark.parametrize(
    ("only", "error", "message"),
    [
        (["lats"], ParameterValueError, "only names 'lats', which is no parameter, buffer or module of the model"),
        (["last.wieght"], ParameterValueError, "did you mean last.weight"),
        ([3], ParameterTypeError, "only must hold names of parameters, buffers or modules; got 3"),
        ("last", ParameterTypeError, "only must be a list of names .*; got 'last'"),
        (3, ParameterTypeError, "only must be a list of names .*; got 3"),
    ],
    ids=str,
)
def test_names_that_lead_nowhere_are_refused(only, error, message):
    with pytest.raises(error, match=message):
        plan(Net(), only=only)
