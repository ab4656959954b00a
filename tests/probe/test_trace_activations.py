"""The activation of a layer: found however it is applied, and measured before it overwrites its input."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow.probe import measure
from evenflow.probe.moments import moments

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.fc, self.act, self.head = nn.Linear(6, 5), act, nn.Linear(5, 3)

    def forward(self, x):
        return self.head(self.act(self.fc(x)))


INPLACE = [
    nn.ReLU(inplace=True),
    F.relu_,
    torch.relu_,
    lambda x: x.relu_(),
    lambda x: F.relu(x, inplace=True),
    lambda x: x.clamp_(min=0),
    nn.LeakyReLU(0.1, inplace=True),
    nn.Hardtanh(inplace=True),
    nn.ELU(inplace=True),
    nn.SiLU(inplace=True),
    lambda x: x.tanh_(),
    lambda x: x.sigmoid_(),
]


@pytest.mark.parametrize("act", INPLACE)
def test_an_inplace_activation_is_measured_before_it_overwrites(act):
    model = Net(act)
    before = model.fc(X).detach()
    after = act(before.clone())
    layer = measure(model, X).layers[0]
    assert layer.output == layer.activation.input == moments(before, histogram=True)
    assert layer.activation.output == moments(after, histogram=True)
    assert layer.signal == layer.activation.output


def test_the_next_layer_reads_what_the_inplace_activation_left():
    fc, head = measure(Net(nn.ReLU(inplace=True)), X).layers
    assert head.input == fc.activation.output
    assert head.input.low == 0
    assert fc.output.low < 0


def test_the_gradient_of_an_inplace_activation_is_that_of_the_pre_activation():
    plain, inplace = Net(nn.ReLU()), Net(nn.ReLU(inplace=True))
    inplace.load_state_dict(plain.state_dict())
    assert measure(plain, X).layers[0].gradient == measure(inplace, X).layers[0].gradient


@pytest.mark.parametrize("act", [F.relu, torch.tanh, lambda x: x.sigmoid(), lambda x: x.clamp(min=0), nn.Softplus()])
def test_shares_and_units_are_those_of_the_pre_activation(act):
    model = Net(act)
    with torch.no_grad():
        model.fc.weight.mul_(8)
        model.fc.bias.copy_(torch.tensor([-99.0, 0, 0, 99, 0]))
    activation = measure(model, X).layers[0].activation
    pre = model.fc(X).detach()
    assert activation.units == 5
    if activation.name == "relu":
        assert activation.dead == (pre <= 0).all(0).float().mean().item() >= 0.2
    if activation.name in ("tanh", "sigmoid"):
        edge = {"tanh": 2.0923, "sigmoid": 4.1846}[activation.name]
        assert activation.saturated == pytest.approx((pre.abs() > edge).float().mean().item())
    if activation.name == "softplus":
        assert (activation.saturated, activation.dead) == (None, None)


def test_the_units_of_a_convolution_are_its_channels():
    model = nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 3))
    with torch.no_grad():
        model[0].bias[:2] = -99
    layer = measure(model, torch.randn(4, 2, 8, 8)).layers[0]
    assert layer.activation.units == 5
    assert layer.activation.dead == pytest.approx(2 / 5)


def test_the_units_of_a_sequence_are_its_last_dimension():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    with torch.no_grad():
        model[0].bias[:2] = -99
    layer = measure(model, torch.randn(4, 7, 6)).layers[0]
    assert (layer.activation.units, layer.activation.dead) == (5, pytest.approx(2 / 5))


def test_the_first_activation_counts_and_the_second_does_not():
    layer = measure(Net(lambda x: torch.tanh(torch.relu(x))), X).layers[0]
    assert layer.activation.name == "relu"


def test_between_layer_and_activation_may_lie_reshaping_dropout_and_pooling():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.MaxPool2d(2), nn.Dropout(0.0), nn.Flatten(), nn.ReLU(), nn.Linear(36, 3)
    )
    layer = measure(model, torch.randn(4, 1, 8, 8)).layers[0]
    assert layer.activation.name == "relu"
    assert layer.activation.input.shape == (4, 36)
    assert layer.activation.units == 36


class TwoHeads(nn.Module):
    """One output goes through two activations; what leaves the second is not fresh either."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm, self.head = nn.Linear(6, 4), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x):
        h = self.fc(x)
        return self.head(self.norm(torch.sigmoid(h)) * torch.tanh(h))


def test_an_output_with_two_activations_keeps_the_first_and_is_not_normalised():
    layer = measure(TwoHeads(), X).layers[0]
    assert layer.activation.name == "sigmoid"
    assert not layer.normalised


class SumThenRelu(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.relu(self.a(x) + self.b(x)))


def test_the_activation_of_a_sum_belongs_to_the_last_layer_and_reads_the_sum():
    model = SumThenRelu()
    a, b, _ = measure(model, X).layers
    assert a.activation is None
    assert b.activation.input == moments(model.a(X) + model.b(X), histogram=True)


class ActivatedShortcut(nn.Module):
    """The later layer has had its activation when the sum is activated: the earlier one has not."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.relu(self.a(x) + torch.tanh(self.b(x))))


def test_the_activation_of_a_sum_belongs_to_the_layer_that_still_waits_for_one():
    a, b, _ = measure(ActivatedShortcut(), X).layers
    assert (a.activation.name, b.activation.name) == ("relu", "tanh")


@pytest.mark.parametrize("layer", [nn.PReLU(), nn.PReLU(5)])
def test_a_prelu_is_an_activation_with_its_slope_and_no_layer(layer):
    record = measure(Net(layer), X)
    assert [found.name for found in record.layers] == ["fc", "head"]
    assert record.layers[0].activation.param == 0.25
    assert record.unused == ()


def test_an_activation_of_the_input_itself_belongs_to_no_layer():
    record = measure(nn.Sequential(nn.Tanh(), nn.PReLU(), nn.Linear(6, 3)), X)
    assert [layer.name for layer in record.layers] == ["2"]
    assert record.layers[0].activation is None


def test_one_unbatched_sample():
    layer = measure(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)), X[0]).layers[0]
    assert (layer.activation.units, layer.activation.dead, layer.activation.input.shape) == (5, None, (5,))
