"""Every kind of layer: its role, its parameters, its fans, and the layer that it reads from."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow import norm as ef_norm
from evenflow.probe import measure
from evenflow.theory import fans

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


WEIGHTED = [
    (nn.Linear(6, 5), X),
    (nn.Linear(6, 5, bias=False), torch.randn(4, 3, 6)),
    (nn.Conv1d(4, 6, 3, stride=2, groups=2), torch.randn(2, 4, 9)),
    (nn.Conv2d(3, 5, 3, padding="same"), torch.randn(2, 3, 6, 6)),
    (nn.Conv3d(2, 3, 2), torch.randn(2, 2, 4, 4, 4)),
    (nn.ConvTranspose1d(4, 6, 4, stride=2), torch.randn(2, 4, 5)),
    (nn.ConvTranspose2d(4, 6, 4, stride=2), torch.randn(2, 4, 5, 5)),
    (nn.ConvTranspose3d(2, 3, 2), torch.randn(2, 2, 3, 3, 3)),
]


@pytest.mark.parametrize(("layer", "x"), WEIGHTED, ids=lambda value: type(value).__name__)
def test_linear_maps(layer, x, layers_of):
    found = layers_of(nn.Sequential(layer, nn.ReLU()), x)["0"]
    assert (found.role, found.kind) == ("weight", type(layer).__name__)
    assert found.fans == fans(layer)
    assert [p.name for p in found.parameters] == [f"0.{name}" for name, _ in layer.named_parameters()]
    assert found.weight.name == "0.weight"
    assert found.input.shape == tuple(x.shape)
    assert found.output.shape == tuple(layer(x).shape)
    assert found.gradient.shape == found.output.shape
    assert found.activation.name == "relu"


def test_a_convolution_that_pads_by_itself_reads_what_it_padded(layers_of):
    found = layers_of(nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, padding_mode="circular")), torch.randn(2, 3, 6, 6))
    assert (found["0"].input.shape, found["0"].output.shape) == ((2, 3, 8, 8), (2, 5, 6, 6))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 4)
        self.mix = nn.Bilinear(3, 4, 5)

    def forward(self, x):
        return self.mix(self.a(x), self.b(x))


def test_a_bilinear_layer_reads_both(layers_of):
    mix = layers_of(TwoInputs(), X)["mix"]
    assert (mix.role, mix.sources, mix.fans) == ("weight", (0, 1), fans(nn.Bilinear(3, 4, 5)))


NORMS = [
    (nn.BatchNorm1d(6), X),
    (nn.BatchNorm1d(6, affine=False), X),
    (nn.BatchNorm1d(6, track_running_stats=False), X),
    (nn.BatchNorm2d(3), torch.randn(2, 3, 4, 4)),
    (nn.LayerNorm(6), X),
    (nn.LayerNorm(6, elementwise_affine=False), X),
    (nn.GroupNorm(2, 6), X),
    (nn.InstanceNorm2d(3, affine=True), torch.randn(2, 3, 4, 4)),
    (nn.InstanceNorm2d(3), torch.randn(2, 3, 4, 4)),
    (nn.RMSNorm(6), X),
    (ef_norm.BatchNorm1d(6), X),
    (ef_norm.BatchNorm1d(6), 1e6 + X),
    (ef_norm.BatchNorm2d(3), torch.randn(2, 3, 4, 4)),
    (ef_norm.BatchNorm3d(3), torch.randn(2, 3, 4, 4, 4)),
]


@pytest.mark.parametrize(("layer", "x"), NORMS, ids=lambda value: type(value).__name__)
def test_normalisations_and_what_they_normalise(layer, x, layers_of):
    features = x.shape[1]
    before = nn.Linear(6, 6) if x.dim() == 2 else (nn.Conv3d if x.dim() == 5 else nn.Conv2d)(features, features, 1)
    if abs(x.mean()) > 1e5:
        nn.init.eye_(before.weight)
    found = layers_of(nn.Sequential(before, layer, nn.ReLU()), x)
    assert list(found) in (["0", "1"], ["1", "0"])
    assert (found["1"].role, found["1"].kind, found["1"].sources) == ("norm", type(layer).__name__, (0,))
    assert found["0"].normalised
    assert not found["1"].normalised
    assert found["0"].activation is None
    assert found["1"].activation.name == "relu"
    assert {p.name for p in found["1"].parameters} == {f"1.{name}" for name, _ in layer.named_parameters()}
    assert found["1"].gradient is not None
    assert found["1"].output.shape == found["1"].activation.input.shape == tuple(x.shape)


def test_the_activation_inside_our_batch_norm_is_its_own(layers_of):
    found = layers_of(nn.Sequential(nn.Linear(6, 6), ef_norm.BatchNorm1d(6, activation="relu"), nn.Linear(6, 2)), X)
    assert found["1"].activation.name == "relu"
    assert found["0"].normalised


def test_a_norm_after_the_activation_does_not_normalise_the_layer(layers_of):
    found = layers_of(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2)), X)
    assert not found["0"].normalised


def test_embeddings(layers_of):
    found = layers_of(nn.Sequential(nn.Embedding(10, 6, padding_idx=0), nn.Linear(6, 3)), torch.randint(10, (4, 5)))
    assert (found["0"].role, found["0"].input, found["0"].output.shape) == ("embedding", None, (4, 5, 6))
    assert found["0"].fans == fans(nn.Embedding(10, 6))
    assert found["1"].sources == (0,)


LOOKUPS = [lambda table, i: table[i], lambda table, i: table[i.long(), :], lambda table, i: table.index_select(0, i)]


class Table(nn.Module):
    """A table of tokens that is no embedding module."""

    def __init__(self, lookup):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.randn(10, 4)), nn.Linear(4, 2)
        self.register_buffer("places", torch.arange(10))
        self.lookup = lookup

    def forward(self, numbers):
        return self.head(self.lookup(self.table, numbers))


@pytest.mark.parametrize("lookup", LOOKUPS)
def test_rows_that_are_picked_by_the_data_are_an_embedding(lookup, layers_of):
    found = layers_of(Table(lookup), torch.tensor([1, 4, 5], dtype=torch.int32))
    assert {name: layer.role for name, layer in found.items()} == {"table": "embedding", "head": "weight"}
    assert found["head"].sources == (0,)


def test_rows_that_the_model_picks_itself_are_a_weight_of_its_own(layers_of):
    model = Table(None)
    model.lookup = lambda table, numbers: table[model.places][: len(numbers)]
    assert list(layers_of(model, torch.tensor([1, 4, 5]))) == ["head"]


def test_embedding_bags_and_sparse_gradients(layers_of):
    model = nn.Sequential(nn.EmbeddingBag(10, 6, sparse=True), nn.Linear(6, 3))
    found = layers_of(model, torch.randint(10, (4, 5)))
    assert found["0"].role == "embedding"
    assert found["0"].weight.grad_norm > 0


def test_an_embedding_that_renormalises_its_weight_in_place_is_restored(layers_of):
    model = nn.Sequential(nn.Embedding(10, 6, max_norm=0.1), nn.Linear(6, 3))
    before = model[0].weight.detach().clone()
    layers_of(model, torch.randint(10, (4, 5)))
    assert torch.equal(model[0].weight, before)


def test_one_hot_inputs_are_read_by_a_layer(layers_of):
    class OneHot(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, tokens):
            return self.fc(F.one_hot(tokens, 6).float())

    found = layers_of(OneHot(), torch.randint(6, (8,)))["fc"]
    assert (found.role, found.sources, found.input.mean) == ("weight", (), pytest.approx(1 / 6))


def test_noise_that_the_model_draws_is_read_by_a_layer(layers_of):
    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            return self.head(torch.tanh(self.fc(torch.randn_like(x))))

    found = layers_of(Generator(), X)
    assert found["fc"].input.shape == (8, 6)
    assert found["head"].sources == (0,)


def test_a_learned_state_that_takes_up_the_signal_is_no_weight(layers_of):
    class Memory(nn.Module):
        def __init__(self):
            super().__init__()
            self.start, self.fc, self.head = nn.Parameter(torch.zeros(6)), nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, x):
            state = self.start.expand(8, 6).clone()
            state += self.fc(x)
            return self.head(state)

    found = layers_of(Memory(), X)
    assert (found["head"].role, found["head"].sources) == ("weight", (0,))
    assert [p.name for p in found["head"].parameters] == ["head.weight", "head.bias"]


def test_products_of_signals_are_no_layers(layers_of):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(6, 6) for _ in range(3))

        def forward(self, x):
            return (self.q(x) @ self.k(x).mT).softmax(-1) @ self.v(x)

    assert list(reversed(layers_of(Attention(), torch.randn(2, 5, 6)))) == ["q", "k", "v"]


def test_sparse_inputs_and_sparse_products(layers_of):
    class Graph(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 4), nn.Linear(4, 3)

        def forward(self, x, adjacency):
            return torch.sparse.mm(adjacency, self.b(torch.relu(torch.sparse.mm(adjacency, self.a(x)))))

    found = layers_of(Graph(), X, torch.eye(8).to_sparse())
    assert found["b"].sources == (0,)
    assert found["a"].activation.name == "relu"
    assert layers_of(nn.Linear(6, 3), X.to_sparse())["weight"].input is None


def test_a_conditional_batch_norm_shows_its_parts(layers_of):
    class Conditional(nn.BatchNorm1d):
        def __init__(self):
            super().__init__(6, affine=False)
            self.scale = nn.Linear(2, 6)

        def forward(self, x, condition):
            return super().forward(x) * self.scale(condition)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.norm = nn.Linear(6, 6), Conditional()

        def forward(self, x, condition):
            return torch.relu(self.norm(self.fc(x), condition))

    found = layers_of(Net(), X, torch.randn(8, 2))
    assert [(layer.name, layer.role) for layer in reversed(found.values())] == [
        ("fc", "weight"),
        ("norm", "norm"),
        ("norm.scale", "weight"),
    ]


def test_running_statistics_that_take_up_the_signal_stay_the_models_own():
    class Centring(nn.Module):
        """Subtracts a running mean, which each call moves; the second call must not seem to join the first."""

        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(6))
            self.fc = nn.Linear(6, 6)

        def forward(self, x):
            with torch.no_grad():
                self.mean.lerp_(x.mean(0), 0.1)
            return self.fc(x - self.mean)

    centring = Centring()
    record = measure(nn.Sequential(centring, nn.Tanh(), centring), X)
    assert [(layer.sources, layer.bypassed) for layer in record.layers] == [((), False), ((0,), False)]


def test_positions_in_a_buffer_are_embedded_by_a_layer(layers_of):
    class Embeddings(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe, self.head = nn.Embedding(10, 6), nn.Embedding(20, 6), nn.Linear(6, 2)
            self.register_buffer("positions", torch.arange(20), persistent=False)

        def forward(self, tokens):
            return self.head(self.wte(tokens) + self.wpe(self.positions[: tokens.shape[1]]))

    found = layers_of(Embeddings(), torch.randint(10, (4, 5)))
    assert list(reversed(found)) == ["wte", "wpe", "head"]
    assert found["head"].sources == (0, 1)
    assert not found["wte"].bypassed


def test_layers_on_learned_queries_are_layers(layers_of):
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.queries = nn.Parameter(torch.randn(1, 4, 6))
            self.project, self.among = nn.Linear(6, 6), nn.MultiheadAttention(6, 2, batch_first=True)
            self.across, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            queries = self.project(self.queries).expand(len(x), -1, -1)
            queries = self.among(queries, queries, queries)[0]
            return self.head(self.across(queries, x, x)[0])

    found = layers_of(Decoder(), torch.randn(2, 5, 6))
    assert list(reversed(found)) == ["project", "among", "across", "head"]
    assert found["project"].input.shape == (1, 4, 6)
    assert (tuple(found["project"].fans), found["project"].weight.name) == ((6, 6), "project.weight")
    assert found["across"].sources == (1,)


def test_nested_tensors_are_left_alone():
    class Nested(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.head = nn.Linear(6, 4), nn.Linear(4, 2)

        def forward(self, x):
            ragged = torch.nested.nested_tensor([x[:3], x[3:]], layout=torch.jagged)
            return self.head(self.fc(ragged).values())

    record = measure(Nested(), X)
    assert [layer.name for layer in record.layers] == ["head"]
    assert record.unused == ()
