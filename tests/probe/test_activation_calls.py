"""Which calls are recognised as which activation, and what is measured of its plateaus."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from evenflow.probe.activations import FLAT_BELOW, NAMES, PLATEAU, dead_share, recognise, saturated_share
from evenflow.theory import gain


class _Spy(TorchFunctionMode):
    """Recognise each torch function that is called, as a tracer does."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = recognise(func.__name__, args, kwargs or {})
        if found is not None:
            self.seen.append(found)
        return func(*args, **(kwargs or {}))


def seen_in(call, x=None):
    with _Spy() as spy:
        call(torch.linspace(-2, 2, 12).reshape(3, 4) if x is None else x)
    return spy.seen


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (F.relu, ("relu", None)),
        (lambda x: F.relu(x, inplace=True), ("relu", None)),
        (F.relu_, ("relu", None)),
        (torch.relu, ("relu", None)),
        (torch.relu_, ("relu", None)),
        (lambda x: x.relu(), ("relu", None)),
        (lambda x: x.relu_(), ("relu", None)),
        (lambda x: x.clamp(min=0), ("relu", None)),
        (lambda x: x.clamp(0), ("relu", None)),
        (lambda x: x.clamp_(min=0.0), ("relu", None)),
        (lambda x: torch.clamp(x, min=0), ("relu", None)),
        (lambda x: x.clamp_min(0), ("relu", None)),
        (lambda x: x.clip(min=0), ("relu", None)),
        (lambda x: x.clamp(0, 6), ("relu6", None)),
        (F.relu6, ("relu6", None)),
        (nn.ReLU6(), ("relu6", None)),
        (nn.ReLU(inplace=True), ("relu", None)),
        (torch.tanh, ("tanh", None)),
        (F.tanh, ("tanh", None)),
        (lambda x: x.tanh_(), ("tanh", None)),
        (torch.sigmoid, ("sigmoid", None)),
        (lambda x: x.sigmoid(), ("sigmoid", None)),
        (F.sigmoid, ("sigmoid", None)),
        (torch.special.expit, ("sigmoid", None)),
        (F.logsigmoid, ("logsigmoid", None)),
        (F.hardsigmoid, ("hardsigmoid", None)),
        (F.hardswish, ("hardswish", None)),
        (F.hardtanh, ("hardtanh", None)),
        (nn.Hardtanh(), ("hardtanh", None)),
        (lambda x: x.clamp(-1, 1), ("hardtanh", None)),
        (nn.Hardtanh(0.0, 6.0), ("relu6", None)),
        (F.gelu, ("gelu", None)),
        (nn.GELU(), ("gelu", None)),
        (nn.GELU(approximate="tanh"), ("gelu_tanh", None)),
        (F.silu, ("silu", None)),
        (lambda x: F.silu(x, inplace=True), ("silu", None)),
        (F.mish, ("mish", None)),
        (F.selu, ("selu", None)),
        (F.elu, ("elu", 1.0)),
        (nn.ELU(0.3), ("elu", 0.3)),
        (lambda x: F.elu_(x, 0.5), ("elu", 0.5)),
        (nn.CELU(2.0), ("celu", 2.0)),
        (F.leaky_relu, ("leaky_relu", 0.01)),
        (nn.LeakyReLU(0.2), ("leaky_relu", 0.2)),
        (nn.LeakyReLU(0.3, inplace=True), ("leaky_relu", 0.3)),
        (lambda x: F.leaky_relu(x, negative_slope=0.4), ("leaky_relu", 0.4)),
        (nn.RReLU(0.1, 0.3), ("leaky_relu", pytest.approx(0.2))),
        (nn.PReLU(init=0.125), ("prelu", 0.125)),
        (F.softplus, ("softplus", 1.0)),
        (nn.Softplus(beta=2.0), ("softplus", 2.0)),
        (F.softsign, ("softsign", None)),
        (F.softshrink, ("softshrink", 0.5)),
        (nn.Hardshrink(0.25), ("hardshrink", 0.25)),
        (F.tanhshrink, ("tanhshrink", None)),
        (torch.sin, ("sin", None)),
        (torch.erf, ("erf", None)),
    ],
)
def test_every_way_to_apply_an_activation(call, expected):
    assert seen_in(call)[:1] == [expected]


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.clamp(max=0),
        lambda x: x.clamp(-2, 2),
        lambda x: x.clamp(min=1),
        lambda x: x.clamp(min=torch.zeros(())),
        nn.Hardtanh(-2.0, 2.0),
        lambda x: x + 1,
        lambda x: x.softmax(-1),
        lambda x: x.abs(),
        F.dropout,
    ],
)
def test_other_functions_are_no_activation(call):
    assert seen_in(call) == []


def test_the_slope_of_a_channelwise_prelu_is_the_mean():
    layer = nn.PReLU(4)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.0, 0.1, 0.2, 0.3]))
    assert seen_in(layer) == [("prelu", pytest.approx(0.15))]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_the_theory_knows_every_recognised_activation_by_its_name_and_parameter(name):
    call = getattr(F, name, None) or getattr(torch, name)
    args = (torch.tensor([0.25]),) if name == "prelu" else ()
    ((found, param),) = seen_in(lambda x: call(x, *args))
    assert gain(found, param).forward > 0


@pytest.mark.parametrize("name", sorted(PLATEAU))
def test_a_plateau_is_where_the_function_has_nearly_reached_its_limit(name):
    call = getattr(F, name, None) or getattr(torch, name)
    edge, far = torch.tensor([PLATEAU[name]]), torch.tensor([1e6])
    low, high = float(call(-far)), float(call(far))
    at_edge = (float(call(edge)) - (high + low) / 2) / ((high - low) / 2)
    assert at_edge == pytest.approx(0.97, abs=2e-4) or at_edge == pytest.approx(1.0)


@pytest.mark.parametrize("name", sorted(PLATEAU))
def test_the_saturated_share_is_the_share_beyond_the_edge(name):
    x = 4 * torch.randn(50, 7, generator=torch.Generator().manual_seed(0))
    naive = sum(abs(value) > PLATEAU[name] for value in x.flatten().tolist()) / x.numel()
    assert saturated_share(name, x) == pytest.approx(naive)


def test_nan_is_not_saturated():
    assert saturated_share("tanh", torch.tensor([float("nan"), 9.0, 0.0, -9.0])) == 0.5


@pytest.mark.parametrize("name", ["relu", "gelu", "leaky_relu", "softplus"])
def test_functions_without_a_plateau_have_no_saturated_share(name):
    assert saturated_share(name, torch.randn(3)) is None


@pytest.mark.parametrize("name", sorted(FLAT_BELOW))
def test_below_its_edge_a_function_is_flat_and_zero(name):
    call = getattr(F, name)
    x = torch.tensor([FLAT_BELOW[name] - 1e-3, FLAT_BELOW[name] - 5], requires_grad=True)
    (slope,) = torch.autograd.grad(call(x).sum(), x)
    assert call(x).abs().max() == 0
    assert slope.abs().max() == 0


@pytest.mark.parametrize("name", sorted(FLAT_BELOW))
@pytest.mark.parametrize(("shape", "dim"), [((6, 9), -1), ((6, 9), 1), ((4, 9, 3, 3), 1), ((4, 5, 9), -1)])
def test_the_dead_share_counts_units_that_no_sample_wakes(name, shape, dim):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) - 1.5
    units = x.movedim(dim, 0)
    naive = sum(all(value <= FLAT_BELOW[name] for value in unit.flatten().tolist()) for unit in units) / len(units)
    assert dead_share(name, x, dim) == pytest.approx(naive)


def test_a_dead_unit_is_dead_for_every_sample():
    x = torch.tensor([[-1.0, -1.0, 0.0], [-2.0, 1.0, 0.0]])
    assert dead_share("relu", x, -1) == pytest.approx(2 / 3)


def test_nan_is_not_dead():
    assert dead_share("relu", torch.tensor([[float("nan")], [-1.0]]), -1) == 0


@pytest.mark.parametrize(
    ("name", "x"), [("tanh", torch.zeros(3, 3)), ("relu", torch.zeros(3)), ("relu", torch.zeros(0, 3))]
)
def test_where_nothing_can_be_dead(name, x):
    assert dead_share(name, x, -1) is None
