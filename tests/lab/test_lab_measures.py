import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import evenflow as ef
from evenflow.errors import BatchError, NoParametersError, ParameterValueError
from evenflow.lab.measures import along_gradient, covariate_shift, loss_slice, oscillation, trainable_region
from evenflow.lab.training import Recipe, initialise_, load_split, mlp


@pytest.fixture(scope="module")
def batch():
    data = load_split("digits")
    return data.inputs[:64], data.targets[:64]


@pytest.fixture
def model():
    return initialise_(mlp([64, 20, 20, 10], "tanh", nn.BatchNorm1d, dropout=0.2), "glorot_normal", 0)


def step(batch, rate=0.1):
    def update(twin):
        optimiser = torch.optim.SGD(twin.parameters(), rate)
        F.cross_entropy(twin(batch[0]), batch[1]).backward()
        optimiser.step()

    return update


MEASURES = {
    "along_gradient": along_gradient,
    "loss_slice": lambda model, batch: loss_slice(model, batch, points=3, dimensions=2),
    "covariate_shift": lambda model, batch: covariate_shift(model, batch, step(batch)),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_measure_leaves_the_model_and_the_random_state_as_they_were(model, batch, measure):
    model.norm1.eval()
    model.linear1.weight.grad = torch.ones_like(model.linear1.weight)
    before, torch_state = copy.deepcopy(model), torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    first = measure(model, batch)
    assert measure(model, batch) == first
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), before.state_dict().values(), strict=True)
    )
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(model.linear1.weight.grad, torch.ones_like(model.linear1.weight))
    assert model.linear2.weight.grad is None
    assert not model.linear1._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
@pytest.mark.parametrize("bad", [None, torch.ones(3, 64), (torch.ones(0, 64), torch.ones(0))])
def test_a_measure_refuses_what_is_no_batch(model, measure, bad, batch):
    with pytest.raises(BatchError):
        measure(model, bad)


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_measure_refuses_a_frozen_model(model, batch, measure):
    with pytest.raises(NoParametersError):
        measure(model.requires_grad_(False), batch)


@pytest.mark.parametrize("curvature", [0.5, 3.0])
def test_the_smoothness_of_a_bowl_is_its_curvature(curvature):
    model = nn.Linear(4, 1, bias=False)
    data = torch.eye(4), torch.zeros(4, 1)
    walk = along_gradient(model, data, lambda output, _: curvature / 2 * output.square().sum(), steps=(0.01, 0.1))
    assert walk.smoothness == pytest.approx(curvature, rel=1e-4)
    size = float(model.weight.detach().norm()) * curvature
    assert walk.gradient_norm == pytest.approx(size, rel=1e-5)
    assert walk.gradient_changes == pytest.approx([curvature * eta * size for eta in (0.01, 0.1)], rel=1e-3)
    losses = [0.5 * curvature * (size / curvature * (1 - eta * curvature)) ** 2 for eta in (0.01, 0.1)]
    assert walk.losses == pytest.approx(losses, rel=1e-4)
    assert walk.loss_range == pytest.approx(losses[0] - losses[1], rel=1e-3)


@pytest.mark.parametrize("steps", [(), (0.0,), (-1.0,), (math.nan,)])
def test_steps_that_are_no_steps_are_refused(model, batch, steps):
    with pytest.raises(ParameterValueError):
        along_gradient(model, batch, steps=steps)


def test_the_centre_of_a_slice_is_the_loss(batch):
    model = initialise_(mlp([64, 20, 10], "tanh"), "glorot_normal", 0)
    loss = F.cross_entropy(model(batch[0]), batch[1]).item()
    plane = loss_slice(model, batch, dimensions=2, points=5)
    assert plane.centre == pytest.approx(loss)
    assert (len(plane.x), len(plane.y), len(plane.losses), len(plane.losses[0])) == (5, 5, 5, 5)
    line = loss_slice(model, batch, points=5)
    assert line.losses[0] == plane.losses[2]


def test_directions_know_the_size_of_each_filter(batch):
    # Two networks that compute the same, one with a layer scaled up and the next down, have the same slice.
    model = initialise_(mlp([64, 20, 10], "relu"), "he_normal", 0)
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled.linear1.weight *= 100
        scaled.linear2.weight /= 100
    one, other = (loss_slice(network, batch, points=5).losses[0] for network in (model, scaled))
    assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("values", [{"dimensions": 3}, {"span": 0.0}, {"points": 2}])
def test_a_slice_out_of_range_is_refused(model, batch, values):
    with pytest.raises(ParameterValueError):
        loss_slice(model, batch, **values)


def test_no_step_shifts_nothing(batch):
    model = initialise_(mlp([64, 20, 20, 10], "tanh"), "glorot_normal", 0)
    for layer in covariate_shift(model, batch, lambda twin: None):
        assert (layer.wasserstein, layer.relative, layer.gradient_difference) == (0, 0, 0)
        assert layer.percentiles == layer.percentiles_after
        assert layer.gradient_cosine == pytest.approx(1)


def test_the_first_layer_has_nothing_below_it_and_the_others_do(batch):
    model = initialise_(mlp([64, 20, 20, 10], "tanh"), "glorot_normal", 0)
    first, *others = covariate_shift(model, batch, step(batch))
    assert (first.layer, first.wasserstein, first.gradient_difference) == ("linear1", 0, 0)
    assert all(
        layer.wasserstein > 0 and layer.gradient_difference > 0 and layer.gradient_cosine < 1 for layer in others
    )


def test_the_gradient_shift_is_that_of_the_definition(batch):
    model = initialise_(mlp([64, 20, 20, 10], "tanh"), "glorot_normal", 0)
    moved, mixed = copy.deepcopy(model), copy.deepcopy(model)
    step(batch)(moved)
    for name in ("linear1", "linear2"):
        mixed.get_submodule(name).load_state_dict(moved.get_submodule(name).state_dict())
    slow = [
        torch.autograd.grad(F.cross_entropy(network(batch[0]), batch[1]), network.linear3.weight)[0]
        for network in (model, mixed)
    ]
    found = covariate_shift(model, batch, step(batch))[2]
    assert found.gradient_difference == pytest.approx(float((slow[0] - slow[1]).norm()), rel=1e-5)


def test_the_distribution_shift_is_the_distance_of_a_known_move():
    model = nn.Sequential(nn.Linear(3, 3, bias=True), nn.Linear(3, 2))
    inputs = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))

    def shift(twin):
        with torch.no_grad():
            twin[0].bias += 0.5

    found = covariate_shift(model, (inputs, torch.zeros(200, dtype=torch.long)), shift)[1]
    assert found.wasserstein == pytest.approx(0.5, rel=1e-4)
    moved = np.subtract(found.percentiles_after, found.percentiles)
    assert moved == pytest.approx([0.5] * 3, rel=1e-3)


def test_a_norm_between_two_layers_belongs_to_what_lies_below(batch):
    model = initialise_(mlp([64, 20, 10], "tanh", nn.BatchNorm1d), "glorot_normal", 0)

    def norm_only(twin):
        with torch.no_grad():
            twin.norm1.weight *= 2

    _, second = covariate_shift(model, batch, norm_only)
    assert second.gradient_difference > 0


def test_layers_are_chosen_by_name_and_unknown_ones_refused(batch):
    model = mlp([64, 20, 20, 10], "tanh")
    assert [s.layer for s in covariate_shift(model, batch, step(batch), layers=["linear1", "linear3"])] == [
        "linear1",
        "linear3",
    ]
    with pytest.raises(ParameterValueError, match="linear9"):
        covariate_shift(model, batch, step(batch), layers=["linear9"])
    with pytest.raises(ParameterValueError):
        covariate_shift(model, batch, step(batch), layers=[])


def test_convolutions_have_channels_as_units():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(32, 4))
    data = torch.randn(10, 1, 8, 8), torch.randint(4, (10,))
    assert [layer.layer for layer in covariate_shift(model, data, step(data))] == ["0", "2", "4"]


def test_a_swinging_loss_oscillates_and_a_falling_one_does_not():
    steps = np.arange(200)
    calm, wild = np.exp(-steps / 50), np.exp(-steps / 50 + 0.3 * (-1.0) ** steps)
    assert oscillation(calm).deviation < 1e-3
    found = oscillation(wild)
    assert found.deviation == pytest.approx(0.3, rel=0.1)
    assert found.variance == pytest.approx(found.deviation**2)
    assert found.sign_changes > 0.95
    slow = oscillation(np.exp(0.3 * np.sin(steps / 5)))
    assert slow.sign_changes < 0.3


def test_swings_of_the_loss_itself_have_its_unit_and_those_of_its_logarithm_have_none():
    wild = 1 + 0.3 * (-1.0) ** np.arange(200)
    absolute = oscillation(wild, relative=False)
    assert absolute.deviation == pytest.approx(0.3, rel=0.05)
    assert oscillation(10 * wild, relative=False).deviation == pytest.approx(10 * absolute.deviation)
    assert oscillation(10 * wild).deviation == pytest.approx(oscillation(wild).deviation)
    assert oscillation(wild - 1, relative=False).deviation == pytest.approx(absolute.deviation)
    assert oscillation(wild - 1).deviation == math.inf


def test_a_loss_that_is_no_number_swings_without_limit():
    assert oscillation([1.0] * 30 + [math.nan], relative=False).deviation == math.inf
    assert oscillation([1.0] * 30 + [math.inf]).deviation == math.inf
    with pytest.raises(ParameterValueError):
        oscillation([1.0] * 5)


@pytest.mark.parametrize("together", [True, False])
def test_a_region_is_where_it_trains(together):
    data = load_split("digits")

    def build(scale, depth):
        return initialise_(mlp([64, *[16] * depth, 10], "tanh"), "variance_scaling", 0, scale=scale**2, mode="fan_in")

    region = trainable_region(
        build,
        data,
        Recipe(rate=1.0, steps=40),
        rates=(1e-6, 0.3),
        scales=(0.01, 1.0),
        depths=(1, 4),
        target=1.5,
        together=together,
    )
    assert region.area(1) == 0.5 or region.area(1) == 0.25
    assert region.losses[1][1][1] < 1.5 < region.losses[1][0][1]
    assert region.area() == pytest.approx((region.area(1) + region.area(4)) / 2)


@pytest.mark.parametrize("values", [{"rates": ()}, {"rates": (0.0,)}, {"scales": ()}, {"depths": ()}])
def test_a_region_of_nothing_is_refused(values):
    with pytest.raises(ParameterValueError):
        trainable_region(
            lambda scale, depth: nn.Linear(64, 10),
            load_split("digits"),
            Recipe(1.0, 1),
            **{"rates": (0.1,)} | values,
            target=1.0,
        )


def test_the_measures_are_public():
    assert ef.lab.measures.along_gradient is along_gradient
    assert ef.lab.training.mlp is mlp
    with pytest.raises(AttributeError):
        ef.lab.nothing  # noqa: B018
