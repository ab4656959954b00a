"""Layers are recorded when they run: in execution order, once for each call."""

import torch
import torch.nn.functional as F
from torch import nn

from evenflow.probe import measure

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


def names(record):
    return [(layer.name, layer.call) for layer in record.layers]


class Backwards(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.middle = nn.Linear(5, 4)
        self.first = nn.Linear(6, 5)

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))))


def test_execution_order_not_registration_order():
    record = measure(Backwards(), X)
    assert names(record) == [("first", 0), ("middle", 0), ("last", 0)]
    assert [layer.index for layer in record.layers] == [0, 1, 2]
    assert [layer.sources for layer in record.layers] == [(), (0,), (1,)]


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


def test_a_module_used_twice_has_two_calls():
    first, second = measure(Twice(), X).layers
    assert [(first.name, first.call), (second.name, second.call)] == [("layer", 0), ("layer", 1)]
    assert first.activation.name == "tanh"
    assert second.activation is None
    assert second.sources == (0,)
    assert first.output != second.output
    assert first.parameters == second.parameters


def test_a_shared_module_goes_by_its_first_name():
    layer = nn.Linear(6, 6)
    record = measure(nn.Sequential(layer, nn.Tanh(), layer), X)
    assert names(record) == [("0", 0), ("0", 1)]


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.body = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(torch.tanh(self.body(self.embed(tokens))))


def test_tied_weights_are_one_parameter_of_two_layers():
    record = measure(Tied(), torch.randint(11, (4, 5)))
    embed, body, head = record.layers
    assert (embed.name, body.name, head.name) == ("embed", "body", "head")
    assert embed.weight == head.weight
    assert head.weight.name == "embed.weight"
    assert record.unused == ()


class Loop(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(6, 6) / 6)

    def forward(self, x):
        for _ in range(5):
            x = torch.tanh(x @ self.w)
        return x


def test_a_raw_weight_in_a_loop_has_one_call_each_time():
    record = measure(Loop(), X)
    assert names(record) == [("w", call) for call in range(5)]
    assert [layer.sources for layer in record.layers] == [(), (0,), (1,), (2,), (3,)]


class Branching(nn.Module):
    """Runs one of two layers, by what it reads."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x):
        return self.left(x) if x.mean() > 0 else self.right(x)


def test_only_the_branch_that_ran_is_there_and_the_other_is_unused():
    record = measure(Branching(), X.abs())
    assert names(record) == [("left", 0)]
    assert record.unused == ("right",)
    record = measure(Branching(), -X.abs())
    assert names(record) == [("right", 0)]
    assert record.unused == ("left",)


class Parts(nn.Module):
    """Calls `forward` of a part and the function of another, so that no module call shows them."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return F.linear(self.a.forward(x).relu(), self.b.weight, self.b.bias)


def test_layers_whose_modules_were_not_called_go_by_their_weights():
    a, b = measure(Parts(), X).layers
    assert (a.name, a.kind, a.weight.name) == ("a.weight", "linear", "a.weight")
    assert (b.name, b.kind, b.weight.name) == ("b.weight", "linear", "b.weight")
    assert (a.fans.fan_in, a.fans.fan_out) == (6, 5)
    assert a.activation.name == "relu"


def test_a_model_that_is_a_single_layer():
    (layer,) = measure(nn.Conv2d(3, 4, 3, groups=1, stride=2), torch.randn(2, 3, 8, 8)).layers
    assert (layer.name, layer.kind) == ("weight", "conv2d")
    assert (layer.fans.fan_in, layer.fans.fan_out) == (27, 9)


class Skipping(nn.Module):
    """Hands its input on, as stochastic depth does."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return x


def test_a_module_that_hands_its_input_on_is_no_layer_and_unused():
    record = measure(nn.Sequential(Skipping(), nn.Linear(6, 3)), X)
    assert names(record) == [("1", 0)]
    assert record.unused == ("0",)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head, self.spare = nn.Linear(6, 4), nn.Linear(4, 3), nn.Linear(2, 2)
        self.body.requires_grad_(False)
        self.spare.requires_grad_(False)

    def forward(self, x):
        return self.head(self.body(x).relu())


def test_frozen_parameters_are_named_and_have_no_gradient():
    record = measure(Frozen(), X)
    assert record.frozen == ("body.weight", "body.bias", "spare.weight", "spare.bias")
    assert record.unused == ()
    body, head = record.layers
    assert body.gradient is None
    assert all(parameter.grad_norm is None and not parameter.trainable for parameter in body.parameters)
    assert all(parameter.grad_norm > 0 for parameter in head.parameters)
