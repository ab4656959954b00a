"""BatchNorm and the activation behind it, fused in place: what the model computes, and what was fused."""

import copy

import pytest
import torch
from operated.networks import NETWORKS, BasicBlock, built
from operated.state import steps
from torch import nn

from evenflow import norm
from evenflow.norm import accelerate_

ALL = pytest.mark.parametrize("name", NETWORKS)


@ALL
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_outputs_and_gradients_stay(name, training, given):
    model, x = built(name)
    expected_model = copy.deepcopy(model)
    acceleration = accelerate_(model, x if given else None)
    assert acceleration.verified == ("batch" if given else "pairs")
    assert acceleration.fused
    for each in (model, expected_model):
        each.train(training)
        torch.manual_seed(1)
        each(x).square().mean().backward()
    for (where, p), q in zip(model.named_parameters(), expected_model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-3, atol=1e-5, msg=lambda m, where=where: f"{where}: {m}")
    for (where, b), c in zip(model.named_buffers(), expected_model.buffers(), strict=True):
        torch.testing.assert_close(b, c, rtol=1e-4, atol=1e-5, msg=lambda m, where=where: f"{where}: {m}")


@ALL
def test_the_losses_of_training_stay(name):
    model, x = built(name)
    before, after = copy.deepcopy(model), model
    accelerate_(after, x)
    torch.manual_seed(2)
    expected = steps(before, x)
    torch.manual_seed(2)
    torch.testing.assert_close(steps(after, x), expected, rtol=1e-3, atol=1e-6)


@ALL
def test_names_classes_and_parameters_stay(name):
    model, x = built(name)
    keys, parameters = list(model.state_dict()), list(map(id, model.parameters()))
    modules = [(n, id(m)) for n, m in model.named_modules()]
    classes = [type(m) for m in model.modules() if not isinstance(m, nn.modules.batchnorm._BatchNorm)]
    accelerate_(model, x)
    assert list(model.state_dict()) == keys
    assert list(map(id, model.parameters())) == parameters
    assert [(n, id(m)) for n, m in model.named_modules()] == modules
    assert [type(m) for m in model.modules() if not isinstance(m, nn.modules.batchnorm._BatchNorm)] == classes


def test_a_resnet_is_fused_per_call_site(calls):
    model, x = built("resnet")
    acceleration = accelerate_(model, x)
    fused = {f.name: (f.activation, f.residual) for f in acceleration.fused}
    assert fused["bn1"] == ("relu", False)
    for stage in range(1, 5):
        for block in range(2):
            assert fused[f"layer{stage}.{block}.bn1"] == ("relu", False)
            assert fused[f"layer{stage}.{block}.bn2"] == ("relu", True)
    assert {k.name for k in acceleration.kept} == {f"layer{stage}.0.downsample.1" for stage in range(2, 5)}
    calls.clear()
    model(x)
    assert calls.count(("relu", False)) == 9
    assert calls.count(("relu", True)) == 8


def test_functions_methods_and_modules_are_seen(calls):
    model, x = built("unet")
    accelerate_(model, x)
    calls.clear()
    model(x)
    assert [activation for activation, _ in calls] == ["relu", "leaky_relu", "relu", "relu"]


def test_a_sum_and_an_activation_in_the_parent_of_a_sequential(calls):
    model, x = built("conv-block-residual")
    accelerate_(model, x)
    calls.clear()
    model(x)
    assert calls == [("silu", False), ("gelu", True)]


def test_both_modes_of_a_forward_that_asks_for_it(calls):
    model, x = built("mlp")
    accelerate_(model, x)
    for mode in (True, False):
        calls.clear()
        model.train(mode)
        model(x)
        assert [activation for activation, _ in calls] == ["sigmoid", "tanh"]
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_another_slope_is_kept_and_told():
    model, x = built("gan")
    acceleration = accelerate_(model, x)
    assert [f.name for f in acceleration.fused] == ["generator.1"]
    (kept,) = acceleration.kept
    assert kept.name == "discriminator.1"
    assert "slope is 0.2" in kept.reason


def test_frozen_and_untracked_layers_stay_so():
    torch.manual_seed(0)
    model, x = built("resnet")
    model.bn1.eval()
    model.bn1.requires_grad_(False)
    model.layer1[0].bn1.track_running_stats = False
    model.layer1[0].bn1.running_mean = model.layer1[0].bn1.running_var = None
    model.layer1[0].bn1.num_batches_tracked = None
    plain = copy.deepcopy(model)
    accelerate_(model, x)
    assert not model.bn1.training
    torch.testing.assert_close(model(x), plain(x), rtol=1e-4, atol=1e-4)
    assert model.bn1.num_batches_tracked == 0
    model.eval(), plain.eval()
    torch.testing.assert_close(model(x), plain(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype):
    model, x = built("unet")
    model, x = model.to(dtype), x.to(dtype)
    expected = copy.deepcopy(model)(x)
    acceleration = accelerate_(model, x)
    assert len(acceleration.fused) == 4
    torch.testing.assert_close(model(x), expected, rtol=0.05, atol=0.05)
    acceleration.undo()
    assert model.norm_down.running_mean.dtype == dtype


def test_accelerating_twice_finds_nothing_more():
    model, x = built("mlp")
    accelerate_(model, x)
    again = accelerate_(model, x)
    assert again.fused == ()
    assert "replaced on the instance" in again.kept[0].reason


def test_the_report_reads():
    model, x = built("gan")
    text = str(accelerate_(model, x))
    assert "fused 1\n  generator.1: relu, in the forward of the model" in text
    assert "kept 1\n  discriminator.1: leaky_relu follows" in text
    assert str(accelerate_(nn.Linear(2, 2))) == "the model has no BatchNorm"


def test_the_meta_device_is_accelerated_without_values():
    with torch.device("meta"):
        model = BasicBlock(3, 3)
    assert len(accelerate_(model).fused) == 2


def test_a_wrapped_model_is_looked_through():
    model, x = built("mlp")
    accelerate_(torch.compile(model, backend="eager"), x)
    assert isinstance(model.bn1, norm.BatchNorm1d)
