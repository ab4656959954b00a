"""Modules whose work no function shows, modules that raise, and what is hidden from a tracer."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from evenflow.errors import ModelError
from evenflow.probe import measure
from evenflow.probe.moments import moments
from evenflow.probe.running import ModuleStack

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx, gradient):
        x, weight = ctx.saved_tensors
        return gradient * weight, (gradient * x).sum(0)


class CustomLayer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((6,), 2.0))

    def forward(self, x):
        return Scale.apply(x, self.weight)


class RootNorm(nn.Module):
    """Its own arithmetic: no function of it is a layer."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


def test_a_module_of_a_custom_autograd_function_is_a_layer_as_a_whole(layers_of):
    model = nn.Sequential(nn.Linear(6, 6), CustomLayer(), nn.Linear(6, 3))
    found = layers_of(model, X)
    custom = found["1"]
    assert (custom.role, custom.kind, custom.sources, custom.fans) == ("opaque", "CustomLayer", (0,), None)
    assert custom.input == found["0"].output
    assert custom.output == moments(model[1](model[0](X)), histogram=True)
    assert [p.name for p in custom.parameters] == ["1.weight"]
    assert custom.gradient is not None
    assert found["2"].sources == (1,)


def test_a_module_named_norm_normalises(layers_of):
    found = layers_of(nn.Sequential(nn.Linear(6, 6), RootNorm(6), nn.ReLU(), nn.Linear(6, 3)), X)
    assert (found["1"].role, found["1"].kind, found["1"].sources) == ("norm", "RootNorm", (0,))
    assert found["0"].normalised
    assert (found["1"].activation.name, found["1"].activation.units) == ("relu", 6)


class ChannelBatchNorm(RootNorm):
    def forward(self, x):
        return (x - x.mean((0, 2, 3), keepdim=True)) * self.weight[:, None, None]


def test_a_module_named_batch_norm_has_its_units_in_dimension_1(layers_of):
    found = layers_of(nn.Sequential(ChannelBatchNorm(3), nn.ReLU(), nn.Conv2d(3, 2, 1)), torch.randn(2, 3, 4, 5))
    assert found["0"].activation.units == 3


class Tower(nn.Module):
    """A module with a parameter of its own around others."""

    def __init__(self):
        super().__init__()
        self.scale, self.fc = nn.Parameter(torch.ones(6)), nn.Linear(6, 6)

    def forward(self, x):
        return self.fc(x) * self.scale


def test_a_module_around_layers_is_no_layer_itself(layers_of):
    assert list(layers_of(Tower(), X)) == ["fc"]


class Outputs(dict):
    def __getattr__(self, name):
        return self[name]


@dataclass
class Pair:
    hidden: torch.Tensor
    extra: str = "text"


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.layer, self.wrap = CustomLayer(), wrap

    def forward(self, x):
        return self.wrap(self.layer(x))


class Reader(nn.Module):
    def __init__(self, wrap, unwrap):
        super().__init__()
        self.inner, self.unwrap, self.head = Wrapped(wrap), unwrap, nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.unwrap(self.inner(x)))


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda x: (x, 1), lambda found: found[0]),
        (lambda x: [x, None], lambda found: found[0]),
        (lambda x: {"hidden": x}, lambda found: found["hidden"]),
        (lambda x: Outputs(hidden=x), lambda found: found.hidden),
        (Pair, lambda found: found.hidden),
    ],
)
def test_modules_that_return_structures(wrap, unwrap, layers_of):
    found = layers_of(Reader(wrap, unwrap), X)
    assert list(reversed(found)) == ["inner.layer", "head"]
    assert found["head"].sources == (0,)


# Modules that raise


class Picky(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(99, 3)

    def forward(self, x):
        return self.fc(x)


class Trying(nn.Module):
    """Catches what a part raises, and goes on with raw weights and modules."""

    def __init__(self):
        super().__init__()
        self.picky, self.fc = Picky(), nn.Linear(6, 5)
        self.w, self.v = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(5, 3))

    def forward(self, x):
        try:
            self.picky(x)
        except RuntimeError:
            x = torch.relu(x @ self.w)
        return self.fc(x) @ self.v


def test_a_model_that_catches_what_its_part_raises():
    record = measure(Trying(), X)
    assert [layer.name for layer in record.layers] == ["w", "fc", "v"]
    assert [layer.sources for layer in record.layers] == [(), (0,), (1,)]
    assert record.unused == ("picky.fc",)


class TryingInVain(Trying):
    def forward(self, x):
        super().forward(x)
        raise KeyError("later")


@pytest.mark.parametrize(
    ("model", "place"),
    [
        (nn.Sequential(nn.Linear(6, 4), nn.Sequential(nn.ReLU(), nn.Linear(9, 2))), r"in 1\.1 \(Linear\)"),
        (Picky(), r"in fc \(Linear\)"),
        (TryingInVain(), r"in TryingInVain,"),
        (nn.Linear(9, 2), r"in Linear,"),
    ],
)
def test_the_message_names_the_innermost_module_that_raised(model, place):
    with pytest.raises(ModelError, match=place):
        measure(model, X)


def test_the_place_is_right_while_the_caller_handles_another_exception():
    try:
        raise LookupError("of the caller")
    except LookupError:
        assert [layer.name for layer in measure(Trying(), X).layers] == ["w", "fc", "v"]
        with pytest.raises(ModelError, match=r"in fc \(Linear\)"):
            measure(Picky(), X)


def test_a_hook_of_the_users_that_raises_is_placed_at_its_module():
    model = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))

    def hook(module, args):
        raise RuntimeError("from the hook")

    model[1].register_forward_pre_hook(hook)
    with pytest.raises(ModelError, match=r"from the hook \(in 1 \(Linear\)"):
        measure(model, X)


def test_a_stack_ends_what_a_module_left_open():
    outer, inner, other = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
    stack = ModuleStack(outer)
    stack.enter("", outer, calls=0, events=0)
    stack.enter("inner", inner, calls=1, events=1)
    assert stack.leave(other) is None
    assert stack.innermost.module is inner
    assert stack.leave(outer).module is outer
    assert not stack


def test_a_stack_remembers_the_innermost_place_of_an_exception_that_passes_through():
    outer, inner = nn.Sequential(), nn.Linear(1, 1)
    stack = ModuleStack(outer)
    assert stack.place == "Sequential"
    stack.enter("", outer, calls=0, events=0)
    stack.enter("a.b", inner, calls=0, events=0)
    try:
        raise ValueError
    except ValueError:
        assert stack.leave(inner) is None
        assert stack.leave(outer) is None
    assert stack.place == "a.b (Linear)"


# Hooks of the user


def test_hooks_that_change_inputs_and_outputs_are_followed(layers_of):
    model = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    model[0].register_forward_hook(lambda module, args, output: torch.tanh(output))
    model[1].register_forward_pre_hook(lambda module, args: (2 * args[0],))
    found = layers_of(model, X)
    assert found["0"].activation.name == "tanh"
    assert found["1"].sources == (0,)
    assert found["1"].input.rms == pytest.approx(2 * found["0"].activation.output.rms)


# Hidden places


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Dropout(0.2))
        self.head, self.reentrant = nn.Linear(6, 3), reentrant

    def forward(self, x):
        hidden = self.first(x)
        return self.head(checkpoint(self.block, hidden, use_reentrant=self.reentrant))


def test_gradient_checkpointing_is_followed_and_measured_once():
    model = Checkpointed(reentrant=False)
    plain = nn.Sequential(model.first, *model.block, model.head)
    torch.manual_seed(1)
    record = measure(model, X)
    torch.manual_seed(1)
    expected = measure(plain, X)
    assert [layer.name for layer in record.layers] == ["first", "block.0", "block.1", "head"]
    assert [layer.output for layer in record.layers] == [layer.output for layer in expected.layers]
    assert [layer.gradient for layer in record.layers] == [layer.gradient for layer in expected.layers]


def test_reentrant_checkpointing_cannot_be_measured_and_says_what_to_do():
    with pytest.raises(ModelError, match="use_reentrant=False"):
        measure(Checkpointed(reentrant=True), X)


class Vectorised(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.head = nn.Linear(6, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(torch.vmap(self.inner)(x))


def test_what_runs_inside_a_transform_is_left_alone():
    record = measure(Vectorised(), X)
    assert [layer.name for layer in record.layers] == ["head"]
    assert record.unused == ()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_a_scripted_part_is_left_alone_and_unchanged():
    scripted = torch.jit.script(nn.BatchNorm1d(6))
    model = nn.Sequential(scripted, nn.Linear(6, 3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert [layer.name for layer in measure(model, X).layers] == ["1"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not scripted.training


class Energy(nn.Module):
    """Returns the derivative of an energy by its input, as force fields and physics-informed networks do."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 1)

    def forward(self, x):
        energy = self.b(torch.tanh(self.a(x))).sum()
        return torch.autograd.grad(energy, x, create_graph=True)[0]


def test_a_model_that_differentiates_itself():
    x = X.clone().requires_grad_()
    model = Energy()
    record = measure(model, (x, torch.zeros_like(X)))
    assert [layer.name for layer in record.layers] == ["a", "b"]
    assert x.grad is None
    a = model.a(x)
    force = torch.autograd.grad(model.b(torch.tanh(a)).sum(), x, create_graph=True)[0]
    (expected,) = torch.autograd.grad(force.square().mean(), a)
    assert record.layers[0].gradient == moments(expected, histogram=True)


class PartlyInference(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        with torch.inference_mode():
            hidden = torch.relu(self.features(x))
        return self.head(hidden.clone())


def test_a_part_under_inference_mode_is_measured_without_gradient():
    features, head = measure(PartlyInference(), X).layers
    assert features.gradient is None
    assert features.activation.name == "relu"
    assert head.gradient is not None
    assert head.sources == (0,)


def test_attention_with_the_batch_first_is_measured_across_samples():
    attention = nn.MultiheadAttention(16, 2, batch_first=True)

    class Itself(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = attention

        def forward(self, x):
            return self.attention(x, x, x)[0]

    record = measure(Itself(), torch.randn(1, 7, 16).expand(24, 7, 16).clone())
    (layer,) = record.layers
    assert layer.input.shape == layer.output.shape == layer.gradient.shape == (24, 7, 16)
    assert layer.input.spread == 0
    assert layer.output.spread == pytest.approx(0, abs=1e-6)
