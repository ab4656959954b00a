"""BatchNorm and the activation behind it, fused in place."""

import copy
import pickle

import pytest
import torch
from operated.networks import NETWORKS, BasicBlock, Mlp, ResNet18
from operated.state import assert_same_state, state, steps
from torch import nn

from evenflow import norm
from evenflow.errors import BatchError, ModelError, TreatmentError
from evenflow.norm import accelerate_
from evenflow.norm.modules import EvenBatchNorm

ALL = pytest.mark.parametrize("name", NETWORKS)


def built(name):
    torch.manual_seed(0)
    build, batch = NETWORKS[name]
    return build(), batch()


@pytest.fixture
def calls(monkeypatch):
    """The activations that layers applied themselves, in order."""
    seen = []
    original = EvenBatchNorm.forward

    def forward(self, x, residual=None, *, activation=None):
        seen.append((activation, residual is not None))
        return original(self, x, residual, activation=activation)

    monkeypatch.setattr(EvenBatchNorm, "forward", forward)
    return seen


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
def test_looking_changes_nothing_and_undo_restores_everything(name):
    model, x = built(name)
    model.eval()
    before = state(model)
    acceleration = accelerate_(model, x)
    acceleration.undo()
    assert_same_state(before, state(model))


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


class OneBlock(nn.Module):
    """A BatchNorm, and whatever is made of it."""

    def __init__(self, after, norm=None, act=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4) if norm is None else norm
        self.act = nn.ReLU() if act is None else act
        self.flag = True
        self.after = after

    def forward(self, x):
        return self.after(self, self.conv(x))


def twice(self, y):
    z = self.bn(y)
    return self.act(z) + z


def squared(self, y):
    return self.bn(y) ** 2


def added_number(self, y):
    return self.act(self.bn(y) + 1)


def scaled_sum(self, y):
    return self.act(torch.add(self.bn(y), y, alpha=2))


def sum_read_twice(self, y):
    z = self.bn(y) + y
    return self.act(z) * z


def itself_added(self, y):
    z = self.bn(y)
    return self.act(z + z)


def written_into_another(self, y):
    z = y * 1
    z += self.bn(y)
    return self.act(z)


def input_overwritten(self, y):
    z = self.bn(y)
    return self.act(z + y.mul_(2))


def called_again(self, y):
    z = self.bn(y)
    return self.act(z + self.bn(y * 2).abs())


def without_gradient(self, y):
    with torch.no_grad():
        z = self.bn(y)
    return self.act(z)


def asks_type(self, y):
    return self.act(self.bn(y)) if isinstance(y, torch.Tensor) else y


def asks_values(self, y):
    return self.act(self.bn(y)) if y.sum() > 0 else self.act(self.bn(-y))


def remembers(self, y):
    self.last = self.bn(y)
    return self.act(self.last)


def random_choice(self, y):
    import random

    return self.act(self.bn(y)) if random.random() < 2 else y


def random_noise(self, y):
    return self.act(self.bn(y)) + torch.randn(1)


def gives_record(self, y):
    from collections import OrderedDict

    class Record(OrderedDict):
        pass

    return Record(out=self.act(self.bn(y)))["out"]


def gelu_tanh(self, y):
    return torch.nn.functional.gelu(self.bn(y), approximate="tanh")


def output_first(self, y):
    return self.bn(y)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (twice, "read 2 times"),
        (squared, "pow follows, which is no activation"),
        (added_number, "something else than one residual"),
        (scaled_sum, "something else than one residual"),
        (sum_read_twice, "the sum behind it is read 2 times"),
        (itself_added, "something else than one residual"),
        (written_into_another, "added in place to that of mul"),
        (input_overwritten, "overwritten before its output is used"),
        (called_again, "called again before"),
        (without_gradient, "switches gradients"),
        (asks_type, "asks for the type"),
        (asks_values, "cannot be followed"),
        (remembers, "changes its attribute last"),
        (random_choice, "draws random numbers"),
        (random_noise, "computes randn"),
        (gelu_tanh, "gelu_tanh follows"),
        (output_first, "leaves the module"),
    ],
)
def test_what_is_kept_and_why(after, reason):
    torch.manual_seed(0)
    model, x = OneBlock(after), torch.randn(4, 3, 5, 5)
    before = state(model)
    acceleration = accelerate_(model, None if after is input_overwritten else x)
    assert_same_state(before, state(model))
    assert acceleration.fused == ()
    assert reason in str(acceleration.kept[0])


def test_a_record_is_given_back_as_it_was():
    """A dict subclass would come out of the graph as a plain dict."""
    model, x = OneBlock(gives_record), torch.randn(4, 3, 5, 5)
    acceleration = accelerate_(model, x)
    torch.testing.assert_close(model(x), copy.deepcopy(model)(x))
    assert len(acceleration.fused) == 1  # the record never left the forward


class Ours(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Ours(4), "its forward is its own|whose forward is its own"),
        (nn.SyncBatchNorm(4), "runs on GPUs only"),
        (nn.LazyBatchNorm2d(), "lazy"),
        (norm.BatchNorm2d(4, activation="relu"), "applies relu itself"),
    ],
)
def test_which_layers_are_kept(layer, reason):
    model = OneBlock(lambda self, y: self.act(self.bn(y)), norm=layer)
    acceleration = accelerate_(model)
    assert acceleration.fused == ()
    (kept,) = acceleration.kept
    assert any(part in kept.reason for part in reason.split("|"))


@pytest.mark.parametrize("which", ["bn", "act"])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_a_hooked_value_is_kept(which, kind):
    model = OneBlock(lambda self, y: self.act(self.bn(y)))
    getattr(getattr(model, which), kind)(lambda *args: None)
    acceleration = accelerate_(model)
    assert acceleration.fused == ()
    assert "a hook looks at" in acceleration.kept[0].reason


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


def test_a_bad_batch_changes_nothing():
    model, misfit = Mlp(), torch.randn(3, 5)
    before = state(model)
    with pytest.raises(BatchError):
        accelerate_(model, torch.empty(0, 4))
    with pytest.raises(ModelError, match="does the batch fit"):
        accelerate_(model, misfit)
    assert_same_state(before, state(model))


def test_the_meta_device_is_accelerated_without_values():
    with torch.device("meta"):
        model = BasicBlock(3, 3)
    assert len(accelerate_(model).fused) == 2


def test_a_wrapped_model_is_looked_through():
    model, x = built("mlp")
    accelerate_(torch.compile(model, backend="eager"), x)
    assert isinstance(model.bn1, norm.BatchNorm1d)
