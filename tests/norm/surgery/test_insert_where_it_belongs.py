"""BatchNorm put where it belongs, without being told where."""

import pytest
import torch
from operated.networks import NETWORKS, ResNet18, UNet, images
from operated.state import assert_same_state, state
from torch import nn
from torch.nn import functional as F

from evenflow import norm
from evenflow.errors import ModelError, TreatmentError
from evenflow.norm import insert_


class Functional(nn.Module):
    """No activation is a module; one layer is transposed, one is the output, one has a norm behind it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.normed = nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(4, 4, 1)
        self.norm, self.hidden, self.head = nn.GroupNorm(2, 4), nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = F.leaky_relu(self.second(x) + x, 0.2)
        x = self.up(x).relu()
        x = torch.tanh(self.norm(self.normed(x)))
        return self.head(F.elu(self.hidden(x.mean((2, 3)))))


@pytest.mark.parametrize("given", [True, False])
def test_a_functional_model(given):
    torch.manual_seed(0)
    model = Functional()
    insertion = insert_(model, batch=images() if given else None)
    assert insertion.names == ("first.norm", "second.norm", "up.norm", "hidden.norm")
    assert {k.name: k.reason for k in insertion.kept} == {
        "normed": "'normed' has a GroupNorm behind it already",
        "head": "it gives the output of the model",
    }
    assert [type(model.get_submodule(name)) for name in insertion.names] == [norm.BatchNorm2d] * 3 + [norm.BatchNorm1d]
    assert model.first.layer.bias is None
    assert model.head.bias is not None
    model(images()).sum().backward()


@pytest.mark.parametrize("name", NETWORKS)
def test_undo_restores_everything(name):
    build, batch = NETWORKS[name]
    model, x = build(), batch()
    before = state(model)
    insertion = insert_(model, batch=x)
    insertion.undo()
    assert_same_state({**before, "random": torch.get_rng_state()}, state(model))


def test_nothing_is_inserted_where_norms_are():
    assert insert_(ResNet18()).names == ()
    assert insert_(UNet()).names == ()


def test_inserting_twice_adds_nothing():
    model = Functional()
    insert_(model)
    assert insert_(model).names == ()


def test_sequences_of_features_are_passed_over_with_a_batch():
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
    before = state(model)
    insertion = insert_(model, batch=torch.ones(2, 5, 4))
    assert insertion.names == ()
    assert "has 3 dimensions" in insertion.kept[0].reason
    assert_same_state(before, state(model))


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.Linear(4, 4), nn.Softmax(1)], "1 follows, which is no activation"),
        ([nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU()], "1 follows, which is no activation"),
        ([nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU()], "has a LayerNorm behind it already"),
        ([nn.Linear(4, 4), nn.Dropout()], "it gives the output of the model"),
    ],
)
def test_where_it_does_not_belong(layers, reason):
    (kept, *_) = insert_(nn.Sequential(*layers)).kept
    assert reason in kept.reason


@pytest.mark.parametrize("between", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Dropout2d(0.1), nn.Identity()])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.PReLU(), nn.Softplus(), nn.GLU(1)])
def test_behind_the_layer_also_when_the_signal_is_pooled_before_the_activation(between, activation):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), between, activation)
    assert insert_(model).names == ("0.norm",)


def test_a_norm_that_a_forward_calls_is_seen_behind_a_named_layer():
    with pytest.raises(TreatmentError, match="has a GroupNorm behind it already"):
        insert_(Functional(), ["normed"])


def test_attention_is_left_alone():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    insertion = insert_(nn.Sequential(model))
    assert insertion.names == ()
    assert all("reads the weight" in kept.reason for kept in insertion.kept)


def test_a_model_that_does_not_run_afterwards_is_restored():
    class Particular(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            assert type(self.linear) is nn.Linear
            return torch.relu(self.linear(x))

    model = Particular()
    before = state(model)
    with pytest.raises(ModelError, match="AssertionError"):
        insert_(model, batch=torch.ones(3, 4))
    assert_same_state(before, state(model))


def test_a_layer_whose_bias_is_read_is_left_alone():
    class ReadsBias(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return torch.relu(self.linear(x)) + self.linear.bias

    assert "reads its weight or bias" in insert_(ReadsBias()).kept[0].reason


def test_the_report_reads():
    assert str(insert_(nn.ReLU())) == "the model has no layer that a BatchNorm could follow"
