"""Running statistics computed anew, from data."""

import copy
import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from operated.networks import NETWORKS, ResNet18, images
from operated.state import assert_same_state, state
from torch import nn
from torch.optim.swa_utils import update_bn

from evenflow import norm
from evenflow.errors import BatchError, ModelError, NonFiniteError, ParameterTypeError, ParameterValueError
from evenflow.norm import freeze_, recalibrate_


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def batches():
    """Unequal ones, far from each other."""
    return [10 * place + normal(size, 3, 16, 16, seed=place) for place, size in enumerate((4, 2, 7))]


# What torch.optim.swa_utils.update_bn gets wrong


def test_update_bn_un_freezes_frozen_layers():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
    model[0].eval()
    flagged = norm.BatchNorm1d(2, frozen=True)
    model[1] = flagged
    theirs = copy.deepcopy(model[:1])
    recalibration = recalibrate_(model, [5 + normal(8, 2)])
    assert recalibration.names == ("2",)
    assert ["frozen" in kept.reason for kept in recalibration.kept] == [True, True]
    assert model[0].running_mean.tolist() == model[1].running_mean.tolist() == [0, 0]
    assert [layer.training for layer in model] == [False, True, True]
    update_bn([5 + normal(8, 2)], theirs)
    assert theirs[0].running_mean[0] > 3


def test_update_bn_averages_unequal_batches_wrongly():
    data = [torch.tensor([[[3.0, 3.0]]] * 3), torch.tensor([[[9.0, 9.0]]])]
    ours, theirs = nn.Sequential(nn.BatchNorm1d(1)), nn.Sequential(nn.BatchNorm1d(1))
    recalibrate_(ours, data)
    update_bn(data, theirs)
    assert ours[0].running_mean.item() == 4.5
    assert theirs[0].running_mean.item() == 6.0


def test_update_bn_averages_within_batch_variances():
    first = torch.tensor([[-1.0], [0.0], [0.0], [1.0], [-1.0], [1.0]])
    data = [first - 5, first + 5]
    ours, theirs = nn.Sequential(nn.BatchNorm1d(1)), nn.Sequential(nn.BatchNorm1d(1))
    recalibrate_(ours, data)
    update_bn(data, theirs)
    torch.testing.assert_close(ours[0].running_var, torch.cat(data).var(0))
    assert ours[0].running_var > 25
    torch.testing.assert_close(theirs[0].running_var, first.var(0))


@pytest.mark.parametrize("in_turn", [True, False])
def test_update_bn_an_empty_loader_wipes_the_statistics(in_turn):
    model = nn.Sequential(nn.BatchNorm1d(1))
    model[0].running_mean.fill_(7)
    before = state(model)
    with pytest.raises(BatchError, match="gives no batch"):
        recalibrate_(model, [], in_turn=in_turn)
    assert_same_state(before, state(model))
    update_bn([], model)
    assert model[0].running_mean.item() == 0


def test_update_bn_an_exception_leaves_momentum_none():
    def failing():
        yield normal(4, 2)
        raise OSError("the disk is gone")

    model, theirs = nn.Sequential(nn.BatchNorm1d(2)), nn.Sequential(nn.BatchNorm1d(2))
    before = state(model)
    with pytest.raises(OSError, match="disk"):
        recalibrate_(model, failing())
    assert_same_state(before, state(model))
    assert model[0].momentum == 0.1
    with pytest.raises(OSError, match="disk"):
        update_bn(failing(), theirs)
    assert theirs[0].momentum is None


# What it computes


@given(sizes=st.lists(st.integers(2, 9), min_size=1, max_size=5), seed=st.integers(0, 99), offset=st.floats(-1e3, 1e3))
def test_the_statistics_are_those_of_all_values_together(sizes, seed, offset):
    data = [offset * place + normal(size, 2, 3, seed=seed + place) for place, size in enumerate(sizes)]
    model = nn.Sequential(nn.BatchNorm1d(2).double())
    recalibrate_(model, [part.double() for part in data])
    everything = torch.cat(data).double().transpose(0, 1).flatten(1)
    torch.testing.assert_close(model[0].running_mean, everything.mean(1), rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(model[0].running_var, everything.var(1), rtol=1e-9, atol=1e-12)


def test_large_means_keep_their_digits():
    data = [1e6 + normal(512, 2, seed=place).double() for place in range(4)]
    model = nn.Sequential(nn.BatchNorm1d(2))
    recalibrate_(model, [part.float() for part in data])
    rounded = torch.cat([part.float() for part in data]).double()
    torch.testing.assert_close(model[0].running_var.double(), rounded.var(0), rtol=1e-5, atol=0)


def test_the_biased_variance_is_kept_where_it_is_declared():
    model = nn.Sequential(norm.BatchNorm1d(1, running_variance="biased"))
    recalibrate_(model, [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [6.0]])])
    assert model[0].running_var.item() == 5.0
    assert model[0].num_batches_tracked == 2


def test_together_is_what_training_sees():
    torch.manual_seed(0)
    model = ResNet18(4)
    data = [images(6)]
    seen = copy.deepcopy(model).train()
    for layer in seen.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    seen(data[0])
    recalibrate_(model, data)
    for (name, expected), found in zip(seen.named_buffers(), model.buffers(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("name", ["resnet", "unet", "mlp", "conv-block-residual"])
def test_in_turn_makes_evaluation_agree_with_its_own_statistics(name):
    torch.manual_seed(0)
    build, batch = NETWORKS[name]
    model, first = build(), batch()
    data = [first, 2 * first[:3] + 1, first[:2] - 1]
    recalibration = recalibrate_(model, data, in_turn=True)
    inputs = {}
    for layer_name in recalibration.names:
        inputs[layer_name] = []
        model.get_submodule(layer_name).register_forward_pre_hook(
            lambda m, args, kept=inputs[layer_name]: kept.append(args[0].detach())
        )
    model.eval()
    for each in data:
        model(each)
    for layer_name, parts in inputs.items():
        everything = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
        layer = model.get_submodule(layer_name)
        torch.testing.assert_close(layer.running_mean, everything.mean(1), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(layer.running_var, everything.var(1), rtol=1e-3, atol=1e-4)


def test_dropout_is_off():
    model = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(1)).train()
    recalibrate_(model, [torch.ones(100, 1), 3 * torch.ones(100, 1)])
    assert model[1].running_mean.item() == 2
    assert model[0].training


def test_a_layer_that_is_called_twice_sees_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(1)

        def forward(self, a, b):
            return self.bn(a) + self.bn(b)

    model = Twice()
    recalibrate_(model, [((torch.zeros(2, 1), torch.ones(2, 1)), torch.zeros(2))])
    assert model.bn.running_mean.item() == 0.5


def test_masked_positions_do_not_count():
    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = norm.MaskedBatchNorm(1)

        def forward(self, x, mask):
            return self.bn(x, mask)

    model = Padded()
    x, mask = torch.tensor([[[1.0, 3.0, 100.0]]]), torch.tensor([[True, True, False]])
    recalibrate_(model, [{"x": x, "mask": mask}])
    assert model.bn.running_mean.item() == 2


# What it reads


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x,
        lambda x: (x,),
        lambda x: [x, torch.zeros(len(x))],
        lambda x: ({"x": x}, torch.zeros(len(x))),
        lambda x: {"x": x},
    ],
)
def test_batches_of_any_form(form):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm1d(2)

        def forward(self, x):
            return self.bn(x)

    model = Named()
    data = [normal(4, 2), 1 + normal(2, 2)]
    recalibrate_(model, [form(x) for x in data])
    torch.testing.assert_close(model.bn.running_mean, torch.cat(data).mean(0))


def test_own_batches_by_run():
    model = nn.Sequential(nn.BatchNorm1d(1))
    recalibrate_(model, ["ab", "xyz"], run=lambda model, text: model(torch.tensor([[float(len(text))]] * 2)))
    assert model[0].running_mean.item() == 2.5


def test_a_limit_and_a_generator():
    def endless():
        for place in itertools.count():
            yield torch.full((2, 1), float(place))

    model = nn.Sequential(nn.BatchNorm1d(1))
    assert recalibrate_(model, endless(), max_batches=3).batches == 3
    assert model[0].running_mean.item() == 1
    with pytest.raises(ParameterTypeError, match="again and again"):
        recalibrate_(model, endless(), max_batches=3, in_turn=True)
    for limit, error in ((0, ParameterValueError), (1.5, ParameterTypeError)):
        with pytest.raises(error, match="max_batches"):
            recalibrate_(model, endless(), max_batches=limit)
    with pytest.raises(ParameterTypeError, match="iterable of batches"):
        recalibrate_(model, 3)


@pytest.mark.parametrize("in_turn", [True, False])
@pytest.mark.parametrize("one", [torch.randn(8, 3), {"input": torch.randn(8, 3)}], ids=["tensor", "dict"])
def test_a_single_batch_is_no_loader(one, in_turn):
    """Rows of a tensor would be taken for batches, and so would the keys of a dict."""
    model = nn.Sequential(nn.BatchNorm1d(3))
    before = state(model)
    with pytest.raises(ParameterTypeError, match=r"which is one batch. Put it into a list: \[batch\]"):
        recalibrate_(model, one, in_turn=in_turn)
    assert_same_state(before, state(model))
    if isinstance(one, torch.Tensor):
        assert recalibrate_(model, [one], in_turn=in_turn).batches == 1


def test_a_data_loader_in_both_ways():
    data = torch.utils.data.TensorDataset(normal(10, 2), torch.arange(10))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    for in_turn in (True, False):
        model = nn.Sequential(nn.BatchNorm1d(2))
        assert recalibrate_(model, loader, in_turn=in_turn).batches == 3
        torch.testing.assert_close(model[0].running_mean, data.tensors[0].mean(0))


# What it leaves alone


@pytest.mark.parametrize("in_turn", [True, False])
def test_everything_but_the_statistics_stays(in_turn):
    torch.manual_seed(0)
    model = nn.Sequential(ResNet18(4), nn.Dropout()).train()
    model[0].layer1.eval()
    model[0].fc.weight.grad = torch.ones_like(model[0].fc.weight)
    before, former = state(model), {name: b.clone() for name, b in model.named_buffers()}
    python, numpy = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    recalibration = recalibrate_(model, batches(), in_turn=in_turn)
    assert len(recalibration.names) == 16
    assert len(recalibration.kept) == 4
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()  # noqa: NPY002
    recalibration.undo()
    assert_same_state(before, state(model))
    assert all(torch.equal(former[name], b) for name, b in model.named_buffers())


@pytest.mark.parametrize("in_turn", [True, False])
@pytest.mark.parametrize(
    ("second", "error"),
    [
        (torch.full((4, 3, 16, 16), float("nan")), NonFiniteError),
        (torch.full((4, 3, 16, 16), float("inf")), NonFiniteError),
        (torch.zeros(4, 5, 16, 16), ModelError),
        (torch.zeros(0, 3, 16, 16), BatchError),
        ("text", BatchError),
    ],
)
def test_a_bad_batch_changes_nothing(in_turn, second, error):
    model = ResNet18(4)
    before = state(model)
    with pytest.raises(error):
        recalibrate_(model, [images(), second], in_turn=in_turn)
    assert_same_state(before, state(model))


def test_one_value_a_channel_is_an_error():
    model = nn.Sequential(nn.BatchNorm1d(2)).eval()
    before = state(model)
    with pytest.raises(ModelError, match="batch 0"):
        recalibrate_(model, [torch.ones(1, 2)])
    with pytest.raises(BatchError, match="only one value"):
        recalibrate_(model, [torch.ones(1, 2)], in_turn=True)
    assert_same_state(before, state(model))


def test_frozen_by_freeze_stays():
    model = nn.Sequential(nn.BatchNorm1d(2))
    freeze_(model)
    recalibration = recalibrate_(model, [normal(4, 2)])
    assert recalibration.names == ()
    assert recalibration.kept[0].reason == "it is frozen"


def test_what_is_kept_and_why():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
            self.untracked = nn.BatchNorm1d(2, track_running_stats=False)

        def forward(self, x):
            return self.untracked(self.used(x))

    recalibration = recalibrate_(Unused(), [normal(4, 2)])
    assert recalibration.names == ("used",)
    assert {k.name: k.reason for k in recalibration.kept} == {
        "unused": "no batch reached it",
        "untracked": "it has no running statistics",
    }
    assert str(recalibration).startswith("recalibrated 1 on 1 batches\n  used\nkept 2\n  ")
    assert str(recalibrate_(nn.Linear(2, 2), [normal(4, 2)])) == "there is no BatchNorm to recalibrate"


@pytest.mark.parametrize(
    ("layer", "reason"), [(nn.LazyBatchNorm1d(), "lazy"), (nn.BatchNorm1d(2, device="meta"), "meta")]
)
def test_a_model_without_values_is_refused(layer, reason):
    with pytest.raises(ModelError, match=reason):
        recalibrate_(nn.Sequential(layer), [normal(4, 2)])
    with pytest.raises(ModelError, match=reason):
        norm.accelerate_(nn.Sequential(layer, nn.ReLU()), normal(4, 2))


def test_a_bar_is_shown_on_standard_error(capsys):
    recalibrate_(nn.Sequential(nn.BatchNorm1d(2)), [normal(4, 2)] * 3, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "recalibrating" in shown.err
    assert "3/3" in shown.err
    recalibrate_(nn.Sequential(nn.BatchNorm1d(2)), [normal(4, 2)] * 3)
    assert capsys.readouterr().err == ""
