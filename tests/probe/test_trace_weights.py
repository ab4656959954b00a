"""Weights that no layer of torch's applies: raw, packed, computed, masked and parametrised ones."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from evenflow.probe import measure
from evenflow.probe.functions import fans_of_einsum

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Raw(nn.Module):
    """Two weights, applied by functions alone."""

    def __init__(self, apply, first, second):
        super().__init__()
        self.a, self.b, self.bias = (nn.Parameter(torch.randn(shape) / 3) for shape in (first, second, (5,)))
        self.apply_weights = apply

    def forward(self, x):
        return self.apply_weights(self, x)


RAW = [
    (lambda m, x: torch.relu(x @ m.a) @ m.b, (6, 5), (5, 3), "matmul"),
    (lambda m, x: torch.relu(x @ m.a.T) @ m.b.T, (5, 6), (3, 5), "matmul"),
    (lambda m, x: torch.relu(x @ m.a.mT) @ m.b.t(), (5, 6), (3, 5), "matmul"),
    (lambda m, x: torch.relu(m.a @ x.T).T @ m.b, (5, 6), (5, 3), "matmul"),
    (lambda m, x: torch.mm(torch.relu(torch.addmm(m.bias, x, m.a)), m.b), (6, 5), (5, 3), "addmm"),
    (lambda m, x: F.linear(torch.relu(F.linear(x, m.a, m.bias)), m.b), (5, 6), (3, 5), "linear"),
    (lambda m, x: torch.matmul(torch.relu(torch.matmul(x, m.a)), m.b), (6, 5), (5, 3), "matmul"),
    (lambda m, x: torch.relu(torch.bmm(x.expand(2, 8, 6), m.a)) @ m.b, (2, 6, 5), (2, 5, 3), "bmm"),
    (lambda m, x: torch.linalg.matmul(torch.relu(torch.linalg.matmul(x, m.a)), m.b), (6, 5), (5, 3), "linalg_matmul"),
]


@pytest.mark.parametrize(("apply", "first", "second", "kind"), RAW)
def test_raw_weights_are_layers_by_their_parameters_names_with_the_fans_of_their_use(
    apply, first, second, kind, layers_of
):
    found = layers_of(Raw(apply, first, second), X)
    assert list(reversed(found)) == ["a", "b"]
    assert (found["a"].role, found["a"].kind) == ("weight", kind)
    assert tuple(found["a"].fans) == (6, 5)
    assert tuple(found["b"].fans) == (5, 3)
    assert found["a"].activation.name == "relu"
    assert found["b"].sources == (0,)


def test_einsum_is_a_layer_with_the_fans_of_its_equation(layers_of):
    found = layers_of(
        Raw(lambda m, x: torch.einsum("no,op->np", torch.einsum("ni,io->no", x, m.a), m.b), (6, 5), (5, 3)), X
    )
    assert [found[name].kind for name in "ab"] == ["einsum", "einsum"]
    assert (found["a"].fans, found["b"].fans) == ((6, 5), (5, 3))
    assert found["b"].sources == (0,)


EQUATIONS = [
    ("bi,oi->bo", (5, 6), 1, (6, 5)),
    ("oi,bi", (5, 6), 0, (6, 5)),
    ("...i, io -> ...o", (6, 5), 1, (6, 5)),
    ("btd,hde->bthe", (8, 64, 16), 1, (64, 128)),
    ("bthe,hed->btd", (8, 16, 64), 1, (128, 64)),
    ("bgi,goi->bgo", (2, 5, 6), 1, (6, 5)),
    ("bi,ijk,bj->bk", (3, 4, 5), 1, (12, 5)),
]


@pytest.mark.parametrize(("equation", "shape", "place", "expected"), EQUATIONS)
def test_the_fans_of_an_equation(equation, shape, place, expected):
    assert fans_of_einsum(equation, shape, place) == expected


@pytest.mark.parametrize(("equation", "shape"), [("bi,ii->b", (6, 6)), ("bi,...o->bo", (6, 5)), (["bi"], (6, 5))])
def test_an_equation_that_tells_no_fans(equation, shape):
    assert fans_of_einsum(equation, shape, 1) is None


def test_a_packed_weight_is_known_in_its_parts(layers_of):
    def apply(m, x):
        q, k = m.a.chunk(2)
        return (F.linear(x, q) * F.linear(x, k)) @ m.b

    record = measure(Raw(apply, (10, 6), (5, 3)), X)
    assert [(layer.name, layer.call) for layer in record.layers] == [("a", 0), ("a", 1), ("b", 0)]
    assert tuple(record.layers[0].fans) == (6, 5)
    assert record.layers[2].sources == (0, 1)


def test_the_parameters_of_a_computed_weight_are_all_named_matrices_first(layers_of):
    class LowRank(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(6, 1).squeeze(1))
            self.up, self.down = nn.Parameter(torch.randn(6, 2)), nn.Parameter(torch.randn(2, 5))

        def forward(self, x):
            return x @ (self.scale.unsqueeze(1) * (self.up @ self.down))

    (found,) = layers_of(LowRank(), X).values()
    assert [p.name for p in found.parameters] == ["up", "down", "scale"]
    assert tuple(found.fans) == (6, 5)


def test_a_masked_weight_is_owned_by_its_parameter(layers_of):
    class Masked(nn.Linear):
        def __init__(self):
            super().__init__(6, 6)
            self.register_buffer("mask", torch.tril(torch.ones(6, 6)))

        def forward(self, x):
            return F.linear(x, self.weight * self.mask * torch.ones(6, 6), self.bias)

    found = layers_of(nn.Sequential(Masked(), nn.ReLU()), X)["0"]
    assert (found.kind, found.weight.name, found.activation.name) == ("Masked", "0.weight", "relu")


PARAMETRISED = [
    parametrizations.weight_norm(nn.Linear(6, 5)),
    parametrizations.spectral_norm(nn.Linear(6, 5)),
    parametrizations.orthogonal(nn.Linear(6, 5)),
    nn.utils.spectral_norm(nn.Linear(6, 5)),
]


@pytest.mark.parametrize(
    "layer", PARAMETRISED, ids=["weight_norm", "spectral_norm", "orthogonal", "spectral_norm_hook"]
)
def test_parametrised_weights(layer, layers_of):
    model = nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = layers_of(model, X)
    assert list(reversed(found)) == ["0", "2"]
    assert (found["0"].role, tuple(found["0"].fans), found["0"].activation.name) == ("weight", (6, 5), "relu")
    assert {p.name for p in found["0"].parameters} == {f"0.{name}" for name, _ in layer.named_parameters()}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_spectral_norm_in_evaluation_mode_makes_no_layer_of_its_power_iteration(layers_of):
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(6, 5)), nn.ReLU(), nn.Linear(5, 3))
    model[0].eval()
    assert list(reversed(layers_of(model, X))) == ["0", "2"]


# What is not signal


def test_a_standardised_kernel_is_a_weight(layers_of):
    class Standardised(nn.Conv2d):
        def forward(self, x):
            rows = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(rows, None, None, training=True).reshape_as(self.weight)
            return F.conv2d(x, weight, self.bias)

    found = layers_of(nn.Sequential(Standardised(2, 4, 3), nn.ReLU()), torch.randn(2, 2, 6, 6))
    assert [(layer.name, layer.role, layer.kind) for layer in found.values()] == [("0", "weight", "Standardised")]
