"""Every kind of layer: its role, its parameters, its fans, and the layer that it reads from."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from evenflow import norm as ef_norm
from evenflow.probe import measure
from evenflow.theory import fans

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))


class Take(nn.Module):
    """Keep one part of a tuple."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, parts):
        return parts[self.part]


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


@pytest.mark.parametrize("layer", [nn.LSTM(6, 4, batch_first=True), nn.GRU(6, 4, num_layers=2, batch_first=True),
                                   nn.RNN(6, 4, batch_first=True), nn.LSTM(6, 4, bidirectional=True)])  # fmt: skip
def test_recurrent_layers_are_opaque(layer, layers_of):
    x = torch.randn(3, 5, 6)
    width = layer(x)[0].shape[-1]
    found = layers_of(nn.Sequential(nn.Linear(6, 6), layer, Take(0), nn.Linear(width, 2)), x)
    assert list(reversed(found)) == ["0", "1", "3"]
    assert (found["1"].role, found["1"].kind, found["1"].sources) == ("opaque", type(layer).__name__, (0,))
    assert found["1"].fans == fans(layer)
    assert {p.name for p in found["1"].parameters} == {f"1.{name}" for name, _ in layer.named_parameters()}
    assert found["3"].sources == (1,)


def test_the_output_of_an_opaque_layer_is_no_pre_activation(layers_of):
    found = layers_of(nn.Sequential(nn.GRU(6, 4), Take(0), nn.ReLU(), nn.Linear(4, 2)), torch.randn(3, 5, 6))
    assert found["0"].activation is None


class Steps(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell, nn.Linear(4, 2)

    def forward(self, x):
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return self.head(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("cell", [nn.LSTMCell(6, 4), nn.GRUCell(6, 4), nn.RNNCell(6, 4)])
def test_recurrent_cells_have_a_call_for_each_step(cell):
    record = measure(Steps(cell), torch.randn(3, 5, 6))
    assert [(layer.name, layer.call) for layer in record.layers] == [*(("cell", t) for t in range(5)), ("head", 0)]
    assert [layer.sources for layer in record.layers] == [(), (0,), (1,), (2,), (3,), (4,)]
    assert all(layer.gradient is not None for layer in record.layers)


def test_packed_sequences(layers_of):
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(6, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, packed):
            return self.head(self.rnn(packed)[1][-1])

    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(3, 5, 6), torch.tensor([5, 3, 2]), batch_first=True)
    found = layers_of(Packed(), packed)
    assert found["head"].sources == (0,)


class SelfAttention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(6, 2, batch_first=True, **options), nn.Linear(6, 2)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0])


@pytest.mark.parametrize("options", [{}, {"kdim": 6, "vdim": 6}, {"bias": False}, {"add_bias_kv": True}])
def test_multihead_attention_is_one_opaque_layer(options, layers_of):
    model = SelfAttention(**options)
    found = layers_of(model, torch.randn(3, 5, 6))
    assert list(reversed(found)) == ["attention", "head"]
    assert found["attention"].role == "opaque"
    assert found["attention"].fans == fans(model.attention)
    assert {p.name for p in found["attention"].parameters} == {
        f"attention.{name}" for name, _ in model.attention.named_parameters()
    }


# Raw weights


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


def test_einsum_has_no_fans_but_is_a_layer(layers_of):
    found = layers_of(
        Raw(lambda m, x: torch.einsum("no,op->np", torch.einsum("ni,io->no", x, m.a), m.b), (6, 5), (5, 3)), X
    )
    assert [found[name].kind for name in "ab"] == ["einsum", "einsum"]
    assert found["a"].fans is None
    assert found["b"].sources == (0,)


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


def test_a_standardised_kernel_is_a_weight(layers_of):
    class Standardised(nn.Conv2d):
        def forward(self, x):
            rows = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(rows, None, None, training=True).reshape_as(self.weight)
            return F.conv2d(x, weight, self.bias)

    found = layers_of(nn.Sequential(Standardised(2, 4, 3), nn.ReLU()), torch.randn(2, 2, 6, 6))
    assert [(layer.name, layer.role, layer.kind) for layer in found.values()] == [("0", "weight", "Standardised")]


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
