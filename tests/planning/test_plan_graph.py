"""The plan follows the data, not the order of registration."""

import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from evenflow.planning import initialize_, plan
from evenflow.theory import gain

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


class Backwards(nn.Module):
    """Registers the last layer first, and applies its activations as functions."""

    def __init__(self, activation):
        super().__init__()
        self.last, self.middle, self.first = nn.Linear(16, 4), nn.Linear(16, 16), nn.Linear(16, 16)
        self.activation = activation

    def forward(self, x):
        return self.last(self.activation(self.middle(self.activation(self.first(x)))))


@pytest.mark.parametrize(
    "activation",
    [
        torch.relu,
        nn.ReLU(),
        nn.ReLU(inplace=True),
        F.relu_,
        lambda x: x.clamp(min=0),
        lambda x: F.relu(x, inplace=True),
    ],
    ids=["function", "module", "module in place", "function in place", "clamp", "flag"],
)
def test_the_activation_is_found_however_it_is_applied(activation):
    made = plan(Backwards(activation), X)
    assert [row.layer for row in made.rows] == ["first", "first", "middle", "middle", "last", "last"]
    assert made.row("first.weight").activation == made.row("middle.weight").activation == "relu"
    assert made.row("last.weight").activation is None
    assert made.row("middle.weight").reason.startswith("reads what relu lets through, a second moment of 0.5")


def test_the_input_size_is_measured():
    made = plan(Backwards(torch.relu), 100 * X)
    assert re.search(r"size is (9\d|10\d)", made.row("first.weight").reason)
    assert made.row("first.weight").std == pytest.approx(1 / (100 * 4), rel=0.1)
    assert made.row("first.weight").measured == pytest.approx(1, rel=0.03)


class Branches(nn.Module):
    """Blocks of x + f(x)."""

    def __init__(self, depth, norm=None):
        super().__init__()
        self.stem = nn.Linear(16, 16)
        ends = [nn.BatchNorm1d(16)] if norm else []
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16), *ends) for _ in range(depth)
        )
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


@pytest.mark.parametrize("depth", [1, 4, 9])
def test_the_last_layer_of_a_branch_is_scaled_by_the_number_of_sums(depth):
    made = initialize_(Branches(depth), X)
    for block in range(depth):
        assert made.row(f"blocks.{block}.2.weight").aim == pytest.approx(1 / math.sqrt(depth))
        assert made.row(f"blocks.{block}.2.weight").role == "residual"
        assert made.row(f"blocks.{block}.0.weight").role == "hidden"
    assert made.row("stem.weight").role == "hidden"


def test_zero_gamma_starts_every_block_as_the_identity():
    model = Branches(3, norm=True)
    made = initialize_(model, X, zero_gamma=True)
    assert all((model.blocks[block][3].weight == 0).all() for block in range(3))
    assert "Goyal" in made.row("blocks.0.3.weight").reason
    model.eval()
    torch.testing.assert_close(model(X), model.head(model.stem(X)))
    plain = Branches(3)
    initialize_(plain, X, zero_gamma=True)
    torch.testing.assert_close(plain(X), plain.head(plain.stem(X)))


def test_a_projected_shortcut_is_a_skip_too():
    class Projected(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.a, self.b, self.skip = (nn.Linear(16, 16) for _ in range(4))

        def forward(self, x):
            x = torch.relu(self.stem(x))
            return self.b(torch.relu(self.a(x))) + self.skip(x)

    made = plan(Projected(), X)
    assert [made.row(f"{name}.weight").role for name in ("a", "b", "skip")] == ["hidden", "residual", "output"]


def test_equal_paths_share_the_variance_of_their_sum():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.what, self.where, self.kind = (nn.Embedding(20, 8) for _ in range(3))
            self.head = nn.Linear(8, 20)

        def forward(self, x):
            return self.head(self.what(x) + self.where(x) + self.kind(x))

    made = plan(Tokens(), torch.randint(20, (32, 5)))
    assert [made.row(f"{n}.weight").std for n in ("what", "where", "kind")] == pytest.approx([1 / math.sqrt(3)] * 3)


def test_paths_side_by_side_keep_their_size():
    class Side(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(16, 2)

        def forward(self, x):
            return self.head(torch.cat([self.a(x), torch.tanh(self.b(x))], -1))

    made = plan(Side(), X)
    assert made.row("a.weight").role == made.row("b.weight").role == "hidden"


class Tied(nn.Module):
    def __init__(self, padding=None):
        super().__init__()
        self.tokens, self.places = nn.Embedding(30, 16, padding_idx=padding), nn.Embedding(5, 16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 30, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x):
        return self.head(self.norm(self.tokens(x) + self.places(torch.arange(5))))


def test_a_table_that_is_also_the_output_starts_small_and_what_is_added_to_it_too():
    made = plan(Tied(), torch.randint(30, (64, 5)))
    assert made.row("tokens.weight").std == made.row("places.weight").std == pytest.approx(0.5 / 4)
    assert made.row("head.weight") is made.row("tokens.weight")


def test_the_padding_row_stays_zero():
    model = Tied(padding=3)
    initialize_(model, torch.randint(30, (64, 5)))
    assert (model.tokens.weight[3] == 0).all()
    assert (model.tokens.weight[4] != 0).any()


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_weights_are_orthogonal_for_each_gate(kind):
    model = kind(8, 12, num_layers=2, bidirectional=True, batch_first=True)
    initialize_(model, torch.randn(4, 6, 8))
    gates = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}[kind]
    for name, weight in model.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.detach().chunk(gates):
                torch.testing.assert_close(gate @ gate.T, torch.eye(12), atol=1e-5, rtol=0)


def test_the_two_biases_of_a_forget_gate_add_up_to_one():
    for model in (nn.LSTM(4, 6), nn.LSTMCell(4, 6)):
        initialize_(model, torch.randn(5, 3, 4) if isinstance(model, nn.LSTM) else torch.randn(5, 4))
        inputs, states = (p for name, p in model.named_parameters() if "bias" in name)
        expected = torch.tensor([0.0, 1.0, 0.0, 0.0]).repeat_interleave(6)
        assert torch.equal(inputs + states, expected)


def test_packed_attention_is_three_matrices():
    model = nn.MultiheadAttention(32, 4, batch_first=True)
    made = initialize_(model, (((x := torch.randn(8, 6, 32)), x, x), None))
    row = made.row("in_proj_weight")
    assert (row.shape, row.fans) == ((96, 32), (32.0, 32.0))
    assert row.std == pytest.approx(1 / math.sqrt(32), rel=0.1)
    assert float(model.in_proj_weight.detach().std()) == pytest.approx(row.std, rel=0.05)


def test_an_unknown_function_is_reported_and_never_passed_over():
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 4)

        def forward(self, x):
            return self.b(torch.fft.ifft(torch.fft.fft(self.a(x))).real)

    made = plan(Spectral(), X)
    assert any(line.startswith("fft_fft: it is not known") for line in made.unknown)


def test_a_layer_of_unknown_kind_is_kept_and_reported():
    class Twisted(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            return x * weight.sum()

        @staticmethod
        def backward(ctx, gradient):
            return gradient, None

    class Custom(nn.Module):
        def __init__(self):
            super().__init__()
            self.secret = nn.Parameter(torch.randn(3, 3))

        def forward(self, x):
            return Twisted.apply(x, self.secret)

    model = nn.Sequential(nn.Linear(16, 16), Custom(), nn.Linear(16, 2))
    before = model[1].secret.detach().clone()
    made = initialize_(model, X)
    assert made.row("1.secret").rule == "keep"
    assert any("1.secret" in line for line in made.unknown)
    assert torch.equal(before, model[1].secret)


class Even(nn.Module):
    """A root-mean-square norm that does not say so in its name."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True)) * self.scale


class Damped(nn.Module):
    """The scale of a residual branch (Touvron et al. 2021)."""

    def __init__(self):
        super().__init__()
        self.gamma, self.shift = nn.Parameter(torch.full((16,), 1e-3)), nn.Parameter(torch.ones(16))

    def forward(self, x):
        return x * self.gamma + self.shift


@pytest.mark.parametrize("scheme", ["auto", "he_normal", "torch", "zeros"])
def test_modules_of_the_users_own_keep_the_factors_that_they_were_built_with(scheme):
    model = nn.Sequential(nn.Linear(16, 16), Even(), nn.Linear(16, 16), Damped(), nn.Linear(16, 2))
    made = initialize_(model, X, scheme=scheme)
    assert made.unknown == ()
    assert (model[1].scale == 1).all()
    assert (model[3].gamma == 1e-3).all()
    assert (model[3].shift == 0).all()
    assert len(made.audit.kept) == 0


def test_raw_parameters_by_what_they_meet():
    class Raw(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.head = nn.Linear(16, 16), nn.Linear(16, 2)
            self.scale, self.shift = nn.Parameter(torch.full((16,), 0.1)), nn.Parameter(torch.ones(16))
            self.token = nn.Parameter(torch.zeros(1, 1, 16))

        def forward(self, x):
            x = self.stem(x) * self.scale + self.shift
            x = torch.cat([self.token.expand(len(x), -1, -1), x[:, None]], 1)
            return self.head(x.mean(1))

    made = plan(Raw(), X)
    assert made.unknown == ()
    assert made.row("scale").options == {"value": pytest.approx(0.1)}
    assert made.row("shift").options == {"value": 0.0}
    assert (made.row("token").rule, made.row("token").std) == ("normal", 0.02)


def test_what_the_batch_did_not_reach_is_said_and_still_gets_its_rule():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.idle = nn.Linear(16, 4), nn.Linear(16, 4)

        def forward(self, x):
            return self.used(x)

    made = plan(Idle(), X)
    assert "idle.weight: the batch did not reach it" in made.notes
    assert made.row("idle.weight").rule == "normal"
    assert made.row("idle.weight").std == pytest.approx(0.25, rel=0.01)


def test_a_layer_that_gives_zeros_is_named():
    made = plan(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(8, 16))
    assert any("zero for the whole batch" in note for note in made.notes)


def test_without_a_batch_the_modules_tell_and_the_plan_says_so():
    model = nn.Sequential(
        nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 4)
    )
    made = plan(model)
    assert "made without a batch" in made.notes[0]
    assert made.row("0.weight").activation == "gelu"
    assert made.row("2.weight").gain == pytest.approx(gain("gelu").forward)
    assert made.row("5.weight").role == "output"
    assert made.row("0.weight").measured is None


def test_without_a_batch_known_transformers_have_their_branches():
    body = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 3)
    made = plan(body)
    assert made.row("layers.1.linear2.weight").gain == pytest.approx(gain("relu").forward / math.sqrt(6))
    assert made.row("layers.2.self_attn.out_proj.weight").role == "residual"
    assert made.row("layers.0.linear1.weight").activation == "relu"


def test_batch_norm_starts_its_statistics_anew():
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8))
    model(3 * X + 1)
    initialize_(model, X)
    assert (model[1].running_mean == 0).all()
    assert (model[1].running_var == 1).all()
    assert model[1].num_batches_tracked == 0


def test_other_buffers_are_left_alone():
    model = nn.Linear(16, 2)
    model.register_buffer("table", torch.arange(5.0))
    made = initialize_(model, X)
    assert torch.equal(model.table, torch.arange(5.0))
    assert made.audit.kept == ("table",)
