"""What the tracer cannot see is reported, and what lies around it is still initialised well."""

import pytest
import torch
from torch import nn

from evenflow.planning import initialize_

X = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))


class Custom(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.detach().numpy().clip(min=0))

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Around(nn.Module):
    """Two layers with something in between."""

    def __init__(self, between):
        super().__init__()
        self.a, self.b, self.between = nn.Linear(64, 64), nn.Linear(64, 4), between

    def forward(self, x):
        return self.b(self.between(self.a(x)))


def through_numpy(x):
    return torch.from_numpy(abs(x.detach().numpy()))


@pytest.mark.parametrize("between", [Custom.apply, through_numpy], ids=["autograd function", "NumPy"])
def test_what_went_out_of_sight_is_reported_and_the_layers_around_it_have_their_sizes(between):
    made = initialize_(Around(between), X)
    assert made.unknown == (
        "b: it reads what no function in sight made, but a scripted one, or NumPy; or it is a constant",
    )
    a, b = made.row("a.weight"), made.row("b.weight")
    assert (a.role, b.role) == ("hidden", "output")
    assert (a.measured, b.measured) == (pytest.approx(1, rel=0.03), pytest.approx(b.aim, rel=0.03))
    assert "reads what came from out of sight" in b.reason


def test_a_transform_is_reported():
    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(64, 64), nn.Linear(64, 4)

        def forward(self, x):
            return self.b(torch.vmap(lambda row: torch.relu(self.a(row)))(x))

    made = initialize_(Mapped(), X)
    assert any("a transform of torch.func in a" in line for line in made.unknown)


@pytest.mark.parametrize(
    "made_inside",
    [lambda x: torch.randn(len(x), 64), lambda x: torch.ones(64).expand(len(x), 64) / 2, lambda x: x.new_ones(x.shape)],
)
def test_what_the_model_makes_by_functions_of_torch_is_in_sight(made_inside):
    made = initialize_(Around(lambda x: x + made_inside(x)), X)
    assert made.unknown == ()
    assert initialize_(Around(made_inside), X).unknown == ()


class Einsum(nn.Module):
    """An attention's projections as their authors write them: a matrix for each head."""

    def __init__(self):
        super().__init__()
        self.heads, self.out = nn.Parameter(torch.empty(4, 64, 32)), nn.Parameter(torch.empty(4, 32, 10))

    def forward(self, x):
        return torch.einsum("bhe,heo->bo", torch.tanh(torch.einsum("bd,hde->bhe", x, self.heads)), self.out)


def test_weights_of_an_equation_have_its_fans():
    made = initialize_(Einsum(), X)
    assert made.unknown == ()
    assert (made.row("heads").fans, made.row("out").fans) == ((64, 128), (128, 10))
    assert all(made.row(name).measured == pytest.approx(made.row(name).aim, rel=0.03) for name in ("heads", "out"))


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.zeros(50, 64)), nn.Linear(64, 4)

    def forward(self, tokens):
        return self.head(self.table[tokens])


def test_a_raw_table_of_tokens_is_an_embedding():
    model = Tokens()
    made = initialize_(model, torch.arange(50))
    assert made.row("table").role == "embedding"
    assert float(model.table.detach().std()) == pytest.approx(1, rel=0.05)
    assert made.row("head.weight").measured == pytest.approx(made.row("head.weight").aim, rel=0.03)


@pytest.mark.parametrize("batch", [None, X], ids=["structure", "batch"])
def test_zero_gamma_says_when_there_is_nothing_to_start_at_zero(batch):
    made = initialize_(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)), batch, zero_gamma=True)
    assert "zero_gamma: no residual branch was found, so none starts at zero" in made.notes
