"""BatchNorm layers that use their running statistics for good."""

import copy
import pickle

import pytest
import torch
from operated.networks import ResNet18, images
from operated.state import assert_same_state, state, steps
from torch import nn

from evenflow import norm
from evenflow.errors import TreatmentError
from evenflow.norm import freeze_, unfreeze_


def trained():
    torch.manual_seed(0)
    model = ResNet18()
    steps(model, images())
    return model


def norms(model):
    return [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]


def test_training_leaves_frozen_layers_alone():
    model = trained()
    expected = [copy.deepcopy(layer.state_dict()) for layer in norms(model)]
    weight = model.conv1.weight.detach().clone()
    assert len(freeze_(model).names) == 20
    model.train()
    steps(model, images())
    for layer, before in zip(norms(model), expected, strict=True):
        assert all(torch.equal(before[key], value) for key, value in layer.state_dict().items())
    assert not torch.equal(weight, model.conv1.weight)


def test_a_frozen_model_computes_in_training_what_it_does_in_evaluation():
    model = trained()
    expected = model.eval()(images())
    freeze_(model)
    torch.testing.assert_close(model.train()(images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_are_frozen_too(copied):
    model = trained()
    freeze_(model)
    other = copied(model).train()
    assert all(layer.frozen for layer in norms(other))
    before = copy.deepcopy(other.bn1.state_dict())
    other(images())
    assert all(torch.equal(before[key], value) for key, value in other.bn1.state_dict().items())


def test_undo_restores_everything():
    model = trained()
    model.zero_grad(set_to_none=True)
    model.bn1.weight.requires_grad_(False)
    before = state(model)
    freezing = freeze_(model)
    freezing.undo()
    assert_same_state(before, state(model))
    with pytest.raises(TreatmentError, match="not frozen any more"):
        freezing.undo()


def test_unfreeze_lets_them_learn_again():
    model = trained()
    freeze_(model)
    assert len(unfreeze_(model)) == 20
    assert unfreeze_(model) == ()
    before = model.bn1.running_mean.clone()
    steps(model, images())
    assert not torch.equal(before, model.bn1.running_mean)
    assert model.bn1.weight.requires_grad


def test_what_cannot_be_frozen_is_told():
    class Own(nn.BatchNorm1d):
        pass

    model = nn.Sequential(
        nn.BatchNorm1d(3, track_running_stats=False),
        Own(3),
        norm.BatchNorm1d(3, frozen=True),
        nn.LazyBatchNorm1d(),
        norm.LazyBatchNorm1d(),
        norm.GhostBatchNorm(3, 2),
    )
    freezing = freeze_(model)
    assert freezing.names == ("5",)
    assert [k.name for k in freezing.kept] == ["0", "1", "2", "3", "4"]
    reasons = ["no running statistics", "Own, whose forward is its own", "frozen already", "lazy", "lazy"]
    assert all(reason in kept.reason for reason, kept in zip(reasons, freezing.kept, strict=True))
    assert "froze 1\n  5\nkept 5\n  0: it has no running statistics" in str(freezing)


def test_an_accelerated_model_can_be_frozen():
    model = trained()
    expected = model.eval()(images())
    norm.accelerate_(model, images())
    freeze_(model)
    torch.testing.assert_close(model.train()(images()), expected, rtol=1e-4, atol=1e-5)
