"""Activations that are written as products are known by what they compute."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from evenflow import initialize_
from evenflow.probe import measure
from evenflow.probe.gates import GATED, product_of
from evenflow.probe.moments import moments

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.fc, self.act, self.head = nn.Linear(16, 16), act, nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.act(self.fc(x)))


BY_HAND = [
    (lambda x: x * torch.sigmoid(x), "silu"),
    (lambda x: x.sigmoid() * x, "silu"),
    (lambda x: torch.mul(x, torch.sigmoid(x)), "silu"),
    (lambda x: x.mul_(x.sigmoid()), "silu"),
    (lambda x: x * torch.tanh(F.softplus(x)), "mish"),
    (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), "gelu"),
    (lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), "gelu"),
    (lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2, "gelu"),
    (lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), "gelu_tanh"),
    (lambda x: x * torch.sigmoid(1.702 * x), "gelu"),
    (lambda x: x * F.relu6(x + 3) / 6, "hardswish"),
    (lambda x: x * F.hardsigmoid(x), "hardswish"),
]


@pytest.mark.parametrize(("act", "name"), BY_HAND)
def test_a_product_with_a_gate_is_the_function_that_it_computes(act, name):
    model = Net(act)
    with torch.no_grad():
        model.fc.weight.mul_(5)
    layer = measure(model, X).layers[0]
    assert layer.activation.name.removesuffix("_tanh") == name.removesuffix("_tanh")
    assert layer.activation.input.rms == pytest.approx(moments(model.fc(X).detach(), histogram=True).rms)
    assert layer.activation.saturated is None


@pytest.mark.parametrize("name", GATED)
def test_the_functions_are_told_apart_at_unit_size(name):
    assert product_of(X, GATED[name](X) / X)[0] == name


OTHERS = [
    lambda x: x * torch.sigmoid(3 * x),
    lambda x: x * torch.sigmoid(x.flip(-1)),
    lambda x: torch.cat([x[:, :8] * torch.sigmoid(x[:, 8:])] * 2, -1),
]


@pytest.mark.parametrize("act", OTHERS)
def test_another_gate_keeps_its_name_and_is_no_activation_to_a_plan(act):
    model = Net(act)
    assert measure(model, X).layers[0].activation.name == "sigmoid"
    made = initialize_(model, X)
    assert made.row("fc.weight").activation is None
    assert made.row("head.bias").rule == "constant"
    assert made.row("head.weight").measured == pytest.approx(made.row("head.weight").aim, rel=0.05)


def test_a_gate_of_another_layer_makes_no_activation_of_this_one():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.head(self.a(x) * torch.sigmoid(self.b(x)))

    a, b, _ = measure(Gated(), X).layers
    assert (a.activation, b.activation.name) == (None, "sigmoid")


@pytest.mark.parametrize("values", [torch.zeros(4, 4), torch.full((4, 4), math.nan), torch.empty(0, 4)])
def test_values_that_say_nothing(values):
    assert product_of(values, values.sigmoid()) is None


class Plain(nn.Module):
    def __init__(self, act, depth=30):
        super().__init__()
        self.layers, self.act, self.head = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth)), act, nn.Linear(16, 3)

    def forward(self, x):
        for layer in self.layers:
            x = self.act(layer(x))
        return self.head(x)


PAIRS = [(F.silu, BY_HAND[0][0]), (F.mish, BY_HAND[4][0]), (F.gelu, BY_HAND[5][0])]


@pytest.mark.parametrize(("module", "by_hand"), PAIRS, ids=["silu", "mish", "gelu"])
def test_a_plan_is_the_same_for_a_function_and_for_its_formula(module, by_hand):
    """Taken for its gate, thirty layers of mish would be balanced as softplus is, and no gradient would be left."""
    expected, found = (initialize_(Plain(act), X) for act in (module, by_hand))
    assert [(row.name, row.rule, row.activation) for row in found.rows] == [
        (row.name, row.rule, row.activation) for row in expected.rows
    ]
    assert [row.std for row in found.rows] == pytest.approx([row.std for row in expected.rows], rel=1e-3)
