"""What may be done with an accelerated model: changed, hooked, copied, loaded, compiled, exported."""

import copy
import pickle

import pytest
import torch
from operated.networks import NETWORKS, OneBlock, ResNet18, built
from operated.state import steps
from torch import nn

from evenflow.norm import accelerate_


@pytest.mark.parametrize("which", ["bn", "act"])
def test_a_hook_that_comes_later_sees_what_it_would_have_seen(which, calls):
    torch.manual_seed(0)
    model, x = OneBlock(lambda self, y: self.act(self.bn(y))), torch.randn(4, 3, 5, 5)
    plain = copy.deepcopy(model)
    accelerate_(model, x)
    seen = {}
    for name, each in (("fused", model), ("plain", plain)):
        getattr(each, which).register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, o))
    calls.clear()
    model(x), plain(x)
    torch.testing.assert_close(seen["fused"], seen["plain"])
    assert calls == [(None, False)]


def test_check_sees_the_layers_of_an_accelerated_model():
    import evenflow as ef

    model, x = built("resnet")
    targets = torch.arange(4)
    before = [layer.name for layer in ef.check(model, (x, targets)).layers]
    accelerate_(model, x)
    assert [layer.name for layer in ef.check(model, (x, targets)).layers] == before


def test_a_module_that_was_exchanged_later_is_used():
    torch.manual_seed(0)
    model, x = OneBlock(lambda self, y: self.act(self.bn(y))), torch.randn(4, 3, 5, 5)
    accelerate_(model, x)
    model.act = nn.Tanh()
    torch.testing.assert_close(model(x), torch.tanh(model.bn(model.conv(x))))
    model.bn = nn.Identity()
    torch.testing.assert_close(model(x), torch.tanh(model.conv(x)))


def test_an_attribute_that_decides_is_watched(calls):
    def after(self, y):
        return self.act(self.bn(y)) if self.flag else y

    model, x = OneBlock(after), torch.randn(4, 3, 5, 5)
    accelerate_(model, x)
    calls.clear()
    model(x)
    assert calls == [("relu", False)]
    model.flag = False
    torch.testing.assert_close(model(x), model.conv(x))


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(3)

    def forward(self, x, scale=None, *, shift=None):
        y = torch.relu(self.bn(x))
        y = y if scale is None else y * scale
        return y if shift is None else y + shift


def test_inputs_with_defaults_go_the_original_way_when_given():
    model, x = Optional().eval(), torch.randn(5, 3)
    plain = copy.deepcopy(model)
    accelerate_(model)
    for args, kwargs in [((x,), {}), ((x, 2.0), {}), ((x,), {"shift": 1.0}), ((), {"x": x})]:
        torch.testing.assert_close(model(*args, **kwargs), plain(*args, **kwargs))


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU()) for _ in range(2))

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_a_list_that_grows_is_watched():
    model, x = Layers().eval(), torch.randn(5, 4)
    accelerate_(model)
    model.layers.append(nn.Sequential(nn.Linear(4, 2)))
    assert model(x).shape == (5, 2)


def test_a_hook_on_a_container_fires():
    model, x = Layers(), torch.randn(5, 4)
    accelerate_(model, x)
    seen = []
    model.layers[0].register_forward_hook(lambda *args: seen.append("layers.0"))
    model(x)
    assert seen == ["layers.0"]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_and_pickles_are_models_of_their_own(copied, calls):
    model, x = ResNet18(), NETWORKS["resnet"][1]()
    accelerate_(model, x)
    other = copied(model)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    calls.clear()
    assert other(x).abs().sum() > 0
    assert calls.count(("relu", True)) == 8
    assert model.bn1.num_batches_tracked == 0
    assert other.bn1.num_batches_tracked == 1


def test_it_trains_after_a_state_dict_was_loaded():
    model, x = built("resnet")
    trained = copy.deepcopy(model)
    steps(trained, x)
    accelerate_(model, x)
    model.load_state_dict(trained.state_dict())
    torch.testing.assert_close(model.eval()(x), trained.eval()(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_it_compiles_without_a_graph_break(training):
    model, x = built("conv-block-residual")
    expected = copy.deepcopy(model).train(training)(x)
    accelerate_(model, x)
    compiled = torch.compile(model.train(training), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)
    torch._dynamo.reset()


def test_it_exports():
    model, x = built("unet")
    model.eval()
    expected = model(x)
    accelerate_(model, x)
    exported = torch.export.export(model, (x,))
    torch.testing.assert_close(exported.module()(x), expected, rtol=1e-4, atol=1e-5)
