"""Whatever goes wrong, and `undo`: the model is what it was."""

import copy

import pytest
import torch
from operated.networks import NETWORKS, BasicBlock, Mlp, built
from operated.state import assert_same_state, state, steps
from torch import nn

from evenflow.errors import BatchError, ModelError, NonFiniteError, TreatmentError
from evenflow.norm import accelerate_
from evenflow.norm.modules import EvenBatchNorm

ALL = pytest.mark.parametrize("name", NETWORKS)


@ALL
def test_looking_changes_nothing_and_undo_restores_everything(name):
    model, x = built(name)
    model.eval()
    before = state(model)
    acceleration = accelerate_(model, x)
    acceleration.undo()
    assert_same_state(before, state(model))


def test_a_wrong_fusion_is_found_and_taken_back(monkeypatch):
    model, _ = built("resnet")
    before = state(model)
    original = EvenBatchNorm.forward

    def forward(self, x, residual=None, *, activation=None):
        wrong = "leaky_relu" if activation == "relu" else activation
        return original(self, x, residual, activation=wrong)

    monkeypatch.setattr(EvenBatchNorm, "forward", forward)
    with pytest.raises(TreatmentError, match="do not give what they give one by one"):
        accelerate_(model)
    assert_same_state(before, state(model))


def test_a_wrong_forward_is_found_and_taken_back(monkeypatch):
    from evenflow.norm.surgery import accelerate

    def wrong(trace, pairs):
        for node in trace.graph.nodes:
            if node.op == "call_module" and node.target == "fc":
                node.replace_all_uses_with(node.args[0])
        return right(trace, pairs)

    right = accelerate.fuse
    monkeypatch.setattr(accelerate, "fuse", wrong)
    model, x = built("resnet")
    before = state(model)
    with pytest.raises(TreatmentError, match="does not compute the same: output 0 in training mode"):
        accelerate_(model, x)
    assert_same_state(before, state(model))


def test_undo_twice_is_refused():
    model = BasicBlock(3, 3)
    acceleration = accelerate_(model)
    acceleration.undo()
    with pytest.raises(TreatmentError, match="undone already"):
        acceleration.undo()


def test_what_training_changed_survives_undo():
    model, x = built("mlp")
    acceleration = accelerate_(model, x)
    steps(model, x)
    values = copy.deepcopy(model.state_dict())
    acceleration.undo()
    assert all(torch.equal(values[name], tensor) for name, tensor in model.state_dict().items())
    assert type(model.bn1) is nn.BatchNorm1d


def test_a_bad_batch_changes_nothing():
    model, misfit = Mlp(), torch.randn(3, 5)
    before = state(model)
    with pytest.raises(BatchError):
        accelerate_(model, torch.empty(0, 4))
    with pytest.raises(ModelError, match="does the batch fit"):
        accelerate_(model, misfit)
    assert_same_state(before, state(model))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["a tensor", "a keyword"])
def test_a_batch_that_is_not_finite_verifies_nothing(bad, where):
    model, x = built("mlp")
    x[3, 1] = bad
    before = state(model)
    with pytest.raises(NonFiniteError, match="of the batch has NaN or infinity"):
        accelerate_(model, x if where == "a tensor" else {"x": x})
    assert_same_state(before, state(model))


def test_a_model_that_makes_nan_is_not_accelerated():
    model, x = built("mlp")
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    before = [type(module) for module in model.modules()]
    with pytest.raises(NonFiniteError, match="output 0 in training mode has NaN before anything is changed"):
        accelerate_(model, x)
    assert [type(module) for module in model.modules()] == before
