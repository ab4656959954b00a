"""Rows and tensors that do not belong together are refused by name, before anything is written."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from evenflow.errors import (
    ModelError,
    ParameterValueError,
    PlanError,
    SharedMemoryError,
    TensorDtypeError,
    TensorShapeError,
)
from evenflow.planning import initialize_, plan


def sigmoids():
    return nn.Sequential(nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 16), nn.Sigmoid(), nn.Linear(16, 4))


def values(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def unchanged(model, before):
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def balance(**changes):
    return {"weight": "2.weight", "mean": 0.5, "std": 0.0, "dim": 0} | changes


EDITS = [
    ("2.bias", "balance", balance(weight="nope"), PlanError, "2.bias: it is to balance nope, and there is no such"),
    ("2.bias", "balance", balance(weight="4.weight"), PlanError, r"cannot balance dimension 0 of 4.weight"),
    ("2.bias", "balance", balance(dim=7), PlanError, r"cannot balance dimension 7 of 2.weight"),
    ("2.bias", "balance", balance(dim=0.5), PlanError, "2.bias: dim must be the number of a dimension; got 0.5"),
    ("4.bias", "orthogonal", {"gain": 1.0}, TensorShapeError, "4.bias: orthogonal_ needs .* at least 2 dimensions"),
    ("4.weight", "delta_orthogonal", {"gain": 1.0}, TensorShapeError, "4.weight: delta_orthogonal_ needs .* 3 to 5"),
    ("4.weight", "normal", {"mean": 0.0, "std": 1e40}, PlanError, "4.weight: std must be a finite number in"),
    ("4.weight", "constant", {"value": 1e40}, ParameterValueError, "4.weight: val .* torch.float32 can hold"),
    ("4.bias", "segments", {"values": [0.0, 1e40]}, ParameterValueError, "4.bias: val .* torch.float32 can hold"),
    ("4.bias", "segments", {"values": 1.0}, PlanError, "4.bias: values must be a list of numbers; got 1.0"),
    ("4.bias", "segments", None, PlanError, "4.bias: options must be a dictionary; got None"),
]


@pytest.mark.parametrize(("name", "rule", "options", "error", "message"), EDITS)
def test_an_edited_row_that_its_tensor_cannot_take(name, rule, options, error, message):
    model = sigmoids()
    made, before = plan(model), values(model)
    with pytest.raises(error, match=message):
        made.replace(name, rule=rule, options=options).apply_()
    assert unchanged(model, before)


def test_a_list_of_values_is_as_good_as_a_tuple():
    model = sigmoids()
    plan(model).replace("4.bias", rule="segments", options={"values": [1.0, 2.0]}).apply_()
    assert model[4].bias.tolist() == [1, 1, 2, 2]


@pytest.mark.parametrize("value", [0.5, math.pi, 1e30])
def test_a_count_is_a_whole_number(value):
    model = nn.BatchNorm1d(4)
    edited = plan(model).replace("num_batches_tracked", options={"value": value})
    with pytest.raises(
        ParameterValueError, match=r"num_batches_tracked: val must be a number that torch.int64 can hold"
    ):
        edited.apply_()


def test_an_interval_is_refused_for_complex_weights():
    model = nn.Linear(3, 3, dtype=torch.complex64)
    options = {"mean": 0.0, "std": 1.0, "low": -1.0, "high": 1.0}
    with pytest.raises(TensorDtypeError, match="weight: an interval has no meaning for complex numbers"):
        plan(model).replace("weight", rule="truncated_normal", options=options).apply_()


class Two(nn.Module):
    """Two linear maps with the given weights."""

    def __init__(self, first, second):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)
        self.a.weight, self.b.weight = nn.Parameter(first), nn.Parameter(second)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


BATCHES = pytest.mark.parametrize("batch", [None, torch.randn(32, 8)], ids=["structure", "batch"])


@BATCHES
def test_weights_that_lie_over_each_other_are_refused(batch):
    memory = torch.zeros(8, 8)
    model = Two(memory, memory.t())
    with pytest.raises(PlanError, match=r"a.weight and b.weight share memory.*tie them"):
        initialize_(model, batch)
    assert unchanged(model, values(model))


@BATCHES
def test_weights_that_lie_beside_each_other_in_one_memory_are_fine(batch):
    """The columns of one matrix reach into each other's range of addresses and have no element in common."""
    memory = torch.zeros(8, 24)
    model, apart = Two(memory[:, :8], memory[:, 8:16]), Two(torch.zeros(8, 8), torch.zeros(8, 8))
    for each in (model, apart):
        initialize_(each, batch)
    assert torch.equal(model.a.weight, apart.a.weight)
    assert torch.equal(model.b.weight, apart.b.weight)
    assert (memory[:, 16:] == 0).all()


@BATCHES
def test_elements_that_share_memory_are_refused_by_the_name_of_their_tensor(batch):
    model = Two(torch.zeros(8, 8), torch.zeros(8, 1).expand(8, 8))
    before = values(model)
    with pytest.raises(SharedMemoryError, match=r"b.weight: elements of this tensor of shape"):
        initialize_(model, batch)
    assert unchanged(model, before)


class Quantised(nn.Module):
    """A layer whose integer weight came from elsewhere."""

    def __init__(self):
        super().__init__()
        self.a, self.q = nn.Linear(8, 8), nn.Linear(8, 8)
        self.q.weight = nn.Parameter(torch.ones(8, 8, dtype=torch.int8), requires_grad=False)

    def forward(self, x):
        return F.linear(self.a(x), self.q.weight.float(), self.q.bias)


@BATCHES
@pytest.mark.parametrize("scheme", ["auto", "he_normal", "torch"])
def test_integer_weights_stay_what_they_are_and_are_reported(batch, scheme):
    model = Quantised()
    made = initialize_(model, batch, scheme=scheme)
    assert (model.q.weight == 1).all()
    assert "a.weight" in made.audit.written
    assert any(line.startswith("q.weight: ") for line in made.unknown)


@pytest.mark.parametrize("batch", [None, torch.randn(4, 6)], ids=["structure", "batch"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_model_that_was_built_for_inference_is_refused(inside, batch):
    with torch.inference_mode():
        model = nn.Linear(6, 3)
    made, before = plan(nn.Linear(6, 3)), values(model)
    with torch.inference_mode(inside):
        with pytest.raises(ModelError, match=r"Linear was built under torch.inference_mode, so weight can neither"):
            initialize_(model, batch)
        with pytest.raises(PlanError, match=r"weight was made under torch.inference_mode"):
            made.apply_(model=model)
    assert unchanged(model, before)


def test_a_sparse_parameter_is_refused():
    model = nn.Linear(3, 3)
    made = plan(model)
    model.weight = nn.Parameter(torch.eye(3).to_sparse())
    with pytest.raises(PlanError, match=r"weight has the layout torch.sparse_coo"):
        made.apply_(model=model)


def test_what_is_no_plan_cannot_be_compared():
    with pytest.raises(TypeError, match="other must be a plan or the name of a scheme; got int"):
        plan(nn.Linear(2, 2)).diff(3)


def test_the_base_of_the_widths_is_a_module():
    with pytest.raises(TypeError, match=r"mup_base must be a torch.nn.Module; got int"):
        plan(nn.Linear(2, 2), mup_base=3)
