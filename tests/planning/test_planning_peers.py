"""What the initialisers of other libraries get wrong, right here; a test a row, by the name of the peer."""

import copy
import math

import pytest
import torch
from torch import nn

import evenflow as ef
from evenflow.planning import initialize_, plan


def rms(tensor):
    return float(tensor.detach().double().square().mean().sqrt())


def test_peer_torch_values_depend_on_module_order():
    def network(*, biases):
        return nn.Sequential(nn.Linear(8, 8, bias=biases), nn.Linear(8, 8))

    with_bias, without = network(biases=True), network(biases=False)
    for model in (with_bias, without):
        torch.manual_seed(0)
        model[0].reset_parameters()
        model[1].reset_parameters()
    assert not torch.equal(with_bias[1].weight, without[1].weight)
    for model in (with_bias, without):
        initialize_(model, scheme="torch")
    assert torch.equal(with_bias[1].weight, without[1].weight)


def test_peer_torch_fan_out_of_depthwise_convolutions_ignores_groups():
    convolution = nn.Conv2d(64, 64, 3, padding=1, groups=64)
    initialize_(convolution, torch.randn(16, 64, 12, 12))
    x = torch.randn(16, 64, 12, 12, requires_grad=True)
    output = convolution(x)
    (gradient,) = torch.autograd.grad(output, x, torch.randn_like(output))
    # The plan aims at outputs of 0.65, since no layer follows: the gain of both ways is the same.
    assert rms(gradient) == pytest.approx(rms(output), rel=0.15)


def test_peer_torch_and_keras_fans_of_transposed_convolutions_ignore_the_stride():
    layer = nn.ConvTranspose2d(64, 256, 4, stride=2, padding=1)
    model = nn.Sequential(layer, nn.ReLU(), nn.Conv2d(256, 4, 1))
    batch = torch.randn(8, 64, 9, 9)
    nominal = plan(model).row("0.weight")
    assert nominal.std == pytest.approx(1 / math.sqrt(64 * 16 / 4))
    initialize_(model, batch)
    assert rms(layer(batch)) == pytest.approx(1, rel=0.03)


def test_peer_torch_packed_attention_has_half_the_variance_and_is_never_written_on_meta():
    with torch.device("meta"):
        model = nn.MultiheadAttention(64, 4)
    model.to_empty(device="cpu")
    with torch.no_grad():
        model.in_proj_weight.fill_(math.nan)
    made = initialize_(model)
    assert "in_proj_weight" in made.audit.written
    assert float(model.in_proj_weight.detach().var()) * 64 == pytest.approx(1, rel=0.05)


def test_peer_torch_lstm_has_packed_gates_and_two_forget_biases():
    model = nn.LSTM(16, 24)
    initialize_(model, torch.randn(5, 3, 16))
    for gate in model.weight_hh_l0.detach().chunk(4):
        assert torch.linalg.svdvals(gate).sub(1).abs().max() < 1e-5
    assert (model.bias_ih_l0 + model.bias_hh_l0).detach()[24:48].eq(1).all()


@pytest.mark.parametrize("activation", [nn.GELU, nn.SiLU, nn.Mish])
def test_peer_a_gain_alone_is_not_enough_for_a_hundred_layers(activation):
    """1/sqrt(E[f^2]) in every layer leads far away; the plan stays where it meant to be."""
    torch.manual_seed(0)
    layers = [part for _ in range(100) for part in (nn.Linear(64, 64), activation())]
    model, batch = nn.Sequential(*layers, nn.Linear(64, 4)), torch.randn(64, 64)
    made = initialize_(model, batch)
    hidden = [row for row in made.rows if row.role == "hidden"]
    assert all(row.measured == pytest.approx(row.aim, rel=0.05) for row in hidden)
    assert rms(model[:199](batch)) == pytest.approx(hidden[0].aim, rel=0.05)


def test_peer_torch_default_linear_with_relu_dies_out_in_thirty_layers():
    torch.manual_seed(0)
    layers = [part for _ in range(30) for part in (nn.Linear(128, 128), nn.ReLU())]
    model, batch = nn.Sequential(*layers), torch.randn(64, 128)
    spread = model(batch).std(0).mean()
    assert spread < 1e-4
    initialize_(model, batch)
    assert model(batch).std(0).mean() > 0.1


def test_peer_torch_transformer_clones_identical_layers():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 3)
    first, second = (model.layers[place].linear1.weight for place in (0, 1))
    assert torch.equal(first, second)
    initialize_(model)
    assert not torch.equal(first, second)


def test_peer_keras_a_shared_unseeded_initialiser_repeats_itself():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    initialize_(model)
    assert not torch.equal(model[0].weight, model[1].weight)


def test_peer_lsuv_packages_skip_the_first_layer_and_leave_the_model_in_evaluation_mode():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)).train()
    batch = 50 * torch.randn(128, 8)
    initialize_(model, batch, scheme="lsuv")
    assert rms(model[0](batch)) == pytest.approx(1, abs=0.02)
    assert rms(model[:3](batch)) == pytest.approx(1, abs=0.02)
    assert model.training


def test_peer_lsuv_packages_follow_the_order_of_registration_and_crash_on_an_unused_layer():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.unused, self.first = nn.Linear(32, 4), nn.Linear(3, 3), nn.Linear(8, 32)

        def forward(self, x):
            return self.last(torch.relu(self.first(x)))

    model, batch = Backwards(), torch.randn(128, 8)
    made = initialize_(model, batch, scheme="lsuv")
    assert rms(model.first(batch)) == pytest.approx(1, abs=0.02)
    assert rms(model(batch)) == pytest.approx(1, abs=0.02)
    assert "unused.weight: the batch did not reach it" in made.notes


def test_peer_autoinit_passes_unknown_layers_and_assumes_independent_sums():
    class Twice(nn.Module):
        """Adds a path to itself in disguise: the two are not independent, and the next layer has to see that."""

        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x):
            y = torch.relu(self.a(x))
            return self.b(y + y.flip(-1).flip(-1))

    model, batch = Twice(), torch.randn(64, 32)
    made = initialize_(nn.Sequential(model, nn.ReLU(), nn.Linear(32, 2)), batch)
    assert made.unknown == ()
    assert rms(model(batch)) == pytest.approx(1, rel=0.03)


def test_peer_dks_assumes_that_weights_are_inputs_first():
    model = nn.Sequential(nn.Linear(16, 256), nn.Tanh(), nn.Linear(256, 16))
    batch = torch.randn(256, 16)
    made = initialize_(model, batch)
    assert made.row("0.weight").fans == (16.0, 256.0)
    assert rms(model[0](batch)) == pytest.approx(made.row("0.weight").aim, rel=0.02)


def test_peer_transformers_draws_big_models_twice():
    """A model that was built without values is drawn once, and every tensor is accounted for."""
    with torch.device("meta"):
        model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 50))
    built = copy.deepcopy(model).to_empty(device="cpu")
    audit = ef.plan(model).apply_(model=built)
    assert sorted(audit.written) == ["0.weight", "1.bias", "1.weight"]
