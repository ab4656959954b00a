"""Schemes that treat every layer alike, and what the measured one does right."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

from evenflow.errors import ParameterValueError
from evenflow.planning import initialize_, plan
from evenflow.planning.entry import NAMES
from evenflow.planning.schemes import SCHEMES

X = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
STD = {
    "random_uniform": 0.05 / math.sqrt(3), "random_normal": 0.05, "glorot_uniform": math.sqrt(2 / (64 + 32)),
    "glorot_normal": math.sqrt(2 / (64 + 32)), "he_uniform": math.sqrt(2 / 64), "he_normal": math.sqrt(2 / 64),
    "lecun_uniform": 1 / 8, "lecun_normal": 1 / 8, "orthogonal": 1 / 8,
}  # fmt: skip


def test_every_name_of_the_contract_is_a_scheme():
    contract = """auto zeros constant random_uniform random_normal glorot_uniform glorot_normal he_uniform he_normal
    lecun_normal orthogonal lsuv torch"""
    assert set(contract.split()) <= set(NAMES)
    assert set(SCHEMES) <= set(NAMES)


@pytest.mark.parametrize("scheme", STD)
def test_a_scheme_draws_what_its_name_says(scheme):
    model = nn.Linear(64, 32)
    made = initialize_(model, X, scheme=scheme)
    assert made.row("weight").std == pytest.approx(STD[scheme], rel=1e-6)
    assert float(model.weight.detach().std()) == pytest.approx(STD[scheme], rel=0.05)
    assert (model.bias == 0).all()


@pytest.mark.parametrize(("scheme", "value"), [("zeros", 0.0), ("constant", 0.1)])
def test_the_schemes_that_the_notes_warn_of(scheme, value):
    model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 2))
    initialize_(model, scheme=scheme)
    assert (model[0].weight == value).all()
    assert (model[1].weight == 1).all()


def test_fans_know_groups_and_strides():
    convolution = nn.Conv2d(64, 64, 3, groups=64)
    assert plan(convolution, scheme="he_normal").row("weight").std == pytest.approx(math.sqrt(2 / 9))
    transposed = nn.ConvTranspose2d(64, 256, 4, stride=2)
    assert plan(transposed, scheme="he_normal").row("weight").std == pytest.approx(math.sqrt(2 / (64 * 16 / 4)))


LAYERS = {
    "linear": lambda: nn.Linear(40, 300),
    "convolution": lambda: nn.Conv2d(6, 60, 3),
    "grouped": lambda: nn.Conv1d(8, 80, 5, groups=4),
    "transposed": lambda: nn.ConvTranspose2d(20, 30, 3, stride=2),
    "bilinear": lambda: nn.Bilinear(12, 10, 50),
    "embedding": lambda: nn.Embedding(300, 20, padding_idx=0),
    "lstm": lambda: nn.LSTM(20, 40),
    "gru cell": lambda: nn.GRUCell(20, 60),
    "attention": lambda: nn.MultiheadAttention(64, 4),
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_scheme_torch_is_what_torch_draws(name):
    """Kolmogorov and Smirnov cannot tell torch's own draws from ours, for any parameter of any layer."""
    torch.manual_seed(0)
    theirs = [LAYERS[name]() for _ in range(10)]
    ours = [LAYERS[name]() for _ in range(10)]
    for seed, layer in enumerate(ours):
        initialize_(layer, scheme="torch", seed=seed)
    for key, _ in theirs[0].named_parameters():
        pair = [
            torch.cat([dict(layer.named_parameters())[key].detach().flatten() for layer in side])
            for side in (theirs, ours)
        ]
        if len(pair[0].unique()) < 2:
            assert torch.equal(*pair), key
        else:
            assert stats.ks_2samp(*pair).pvalue > 1e-4, key


class Odd(nn.Module):
    """Registers its layers backwards, uses one twice, and one never."""

    def __init__(self):
        super().__init__()
        self.idle, self.last, self.twice, self.first = (nn.Linear(64, 64) for _ in range(4))

    def forward(self, x):
        x = torch.tanh(self.first(x))
        x = torch.tanh(self.twice(x))
        return self.last(torch.tanh(self.twice(x)))


def test_lsuv_reaches_unit_variance_at_every_layer_from_the_first_on_in_the_order_of_execution():
    model = Odd().eval()
    state = torch.get_rng_state()
    made = initialize_(model, X, scheme="lsuv")
    for name in ("first", "twice", "last"):
        assert made.row(f"{name}.weight").measured == pytest.approx(1, abs=0.03)
    assert float(model.first(X).detach().square().mean()) == pytest.approx(1, abs=0.06)
    assert not model.training
    assert torch.equal(state, torch.get_rng_state())
    assert "idle.weight: the batch did not reach it" in made.notes


def test_lsuv_needs_data():
    with pytest.raises(ParameterValueError, match="'lsuv' measures the layers on data; pass a batch"):
        plan(nn.Linear(2, 2), scheme="lsuv")


def test_lsuv_names_a_dead_layer():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.b(torch.relu(self.a(x) - 100.0))

    made = initialize_(Dead(), X, scheme="lsuv")
    assert any(note.startswith("b: it gives zero for the whole batch") for note in made.notes)


def test_what_a_scheme_does_differently_is_told():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    changes = plan(model, X).diff("he_normal")
    assert bool(changes)
    assert [change.name for change in changes.changes] == ["0.weight", "2.weight"]
    assert changes.same == 2
    assert changes.changes[1].ratio == pytest.approx(changes.changes[1].theirs.std / changes.changes[1].ours.std)
    assert not plan(model, X).diff(plan(model, X))
    assert changes.to_dict()["changes"][0]["theirs"]["rule"] == "normal"
