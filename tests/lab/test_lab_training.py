import math

import pytest
import torch
from torch import nn

from evenflow.data import Split
from evenflow.errors import ParameterValueError
from evenflow.lab.training import (
    Recipe,
    Run,
    accuracy,
    batch_order,
    cnn,
    initialise_,
    load_split,
    mlp,
    train,
    train_together,
)
from evenflow.lab.training.layers import forward_of_layers
from evenflow.lab.training.networks import ACTIVATIONS, SCHEMES
from evenflow.norm import BatchNorm1d, BatchNorm2d

SEEDS, RATES = (0, 1, 2), (0.05, 0.1, 0.02)


@pytest.fixture(scope="module")
def data():
    split = load_split("digits")
    return Split(split.inputs[:300], split.targets[:300], split.test_inputs[:100], split.test_targets[:100])


def alike(runs, twins, tolerance=2e-4):
    for run, twin in zip(runs, twins, strict=True):
        assert len(run.loss) == len(twin.loss)
        assert run.loss == pytest.approx(twin.loss, rel=tolerance, abs=tolerance)
        assert run.measured == twin.measured
        assert run.accuracy == pytest.approx(twin.accuracy, abs=0.021)
        assert run.diverged == twin.diverged


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
def test_replicas_train_together_as_they_do_alone(data, activation, optimiser):
    recipe = Recipe(rate=1.0, steps=25, optimiser=optimiser, every=10)
    rates = [rate / 20 for rate in RATES] if optimiser == "adam" else RATES

    def models():
        return [initialise_(mlp([64, 20, 20, 10], activation), "glorot_normal", seed) for seed in SEEDS]

    alone = [
        train(model, data, Recipe(rate, 25, optimiser=optimiser, every=10), seed)
        for model, rate, seed in zip(models(), rates, SEEDS, strict=True)
    ]
    alike(train_together(models(), data, recipe, SEEDS, rates), alone)


def tied():
    layer = nn.Linear(64, 64)
    return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(64, 10, bias=False))


def tied_weights():
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Linear(64, 10))
    model[2].weight = model[0].weight
    return model


def hooked():
    model = nn.Sequential(nn.Linear(64, 20), nn.Tanh(), nn.Linear(20, 10))
    model[1].register_forward_hook(lambda module, inputs, output: output * 2)
    return model


@pytest.mark.parametrize(
    ("build", "plain"),
    [
        (lambda: mlp([64, 20, 10], "tanh"), True),
        (lambda: nn.Sequential(nn.Linear(64, 20, bias=False), nn.GELU(), nn.Linear(20, 10)), True),
        (lambda: nn.Sequential(nn.Linear(64, 20), nn.PReLU(20), nn.Linear(20, 10)), False),
        (lambda: nn.Sequential(nn.Sequential(nn.Linear(64, 20), nn.ReLU()), nn.Linear(20, 10)), False),
        (tied, False),
        (tied_weights, False),
        (hooked, False),
    ],
)
def test_linear_layers_are_called_together_and_all_else_is_mapped(data, build, plain):
    def models():
        return [initialise_(build(), "glorot_normal", seed) for seed in SEEDS]

    recipe = Recipe(rate=0.05, steps=25)
    alike(
        train_together(models(), data, recipe, SEEDS),
        [train(m, data, recipe, s) for m, s in zip(models(), SEEDS, strict=True)],
    )
    assert (forward_of_layers(models()[0]) is not None) == plain


@pytest.mark.parametrize("rates", [(0.01,) * 3, (0.01, 0.01, 0.02), (0.01, 0.02, 0.01)])
def test_adam_takes_the_rates_in_any_order(data, rates):
    def models():
        return [initialise_(mlp([64, 20, 10], "tanh"), "glorot_normal", seed) for seed in SEEDS]

    alone = [
        train(model, data, Recipe(rate, 25, optimiser="adam"), seed)
        for model, rate, seed in zip(models(), rates, SEEDS, strict=True)
    ]
    alike(train_together(models(), data, Recipe(1.0, 25, optimiser="adam"), SEEDS, rates), alone)


@pytest.mark.parametrize("norm", [nn.BatchNorm1d, BatchNorm1d])
def test_replicas_with_batch_norm_train_together_as_they_do_alone(data, norm):
    def models():
        return [initialise_(mlp([64, 20, 20, 10], "relu", norm), "he_normal", seed) for seed in SEEDS]

    recipe = Recipe(rate=0.05, steps=15, every=5)
    alone = [train(model, data, recipe, seed) for model, seed in zip(models(), SEEDS, strict=True)]
    alike(train_together(models(), data, recipe, SEEDS), alone, 1e-3)


def test_convolutions_train_together_as_they_do_alone():
    full = load_split("digits")
    inputs, test = full.inputs[:128].view(-1, 1, 8, 8), full.test_inputs[:50].view(-1, 1, 8, 8)
    images = Split(inputs, full.targets[:128], test, full.test_targets[:50])

    def models():
        return [initialise_(cnn([1, 4, 4], "relu", 10), "he_normal", seed) for seed in SEEDS]

    recipe = Recipe(rate=0.05, steps=8, batch=16)
    alone = [train(model, images, recipe, seed) for model, seed in zip(models(), SEEDS, strict=True)]
    alike(train_together(models(), images, recipe, SEEDS), alone)


def test_a_replica_that_diverges_ends_and_leaves_the_others_alone(data):
    def models():
        return [initialise_(mlp([64, 20, 10], "relu"), "he_normal", seed) for seed in SEEDS]

    recipe, rates = Recipe(rate=0.1, steps=30, every=10), (0.1, 1e6, 0.05)
    runs = train_together(models(), data, recipe, SEEDS, rates)
    assert [run.diverged for run in runs] == [False, True, False]
    assert runs[1].final == math.inf
    assert len(runs[1].loss) < 30
    alone = [
        train(model, data, Recipe(rate, 30, every=10), seed)
        for model, rate, seed in zip(models(), rates, SEEDS, strict=True)
    ]
    alike([runs[0], runs[2]], [alone[0], alone[2]])
    assert len(alone[1].loss) == len(runs[1].loss)


def test_all_replicas_may_diverge(data):
    models = [initialise_(mlp([64, 20, 10], "relu"), "he_normal", seed) for seed in SEEDS]
    assert all(run.diverged for run in train_together(models, data, Recipe(rate=1e6, steps=30), SEEDS))


def test_training_together_leaves_the_models_as_they_were(data):
    models = [initialise_(mlp([64, 20, 10], "tanh", nn.BatchNorm1d), "glorot_normal", seed) for seed in SEEDS]
    before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
    train_together(models, data, Recipe(rate=0.1, steps=5), SEEDS)
    for model, old in zip(models, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())


def test_one_replica_alone_is_a_group_too(data):
    model = initialise_(mlp([64, 20, 10], "tanh"), "glorot_normal", 0)
    recipe = Recipe(rate=0.1, steps=10)
    (together,) = train_together([model], data, recipe, [0])
    alike([together], [train(model, data, recipe, 0)])


@pytest.mark.parametrize(("models", "seeds", "rates"), [(0, 0, 0), (2, 1, 2), (2, 2, 1)])
def test_replicas_seeds_and_rates_must_be_as_many(data, models, seeds, rates):
    networks = [mlp([64, 10], "tanh") for _ in range(models)]
    with pytest.raises(ParameterValueError, match="as many"):
        train_together(networks, data, Recipe(rate=0.1, steps=2), range(seeds), [0.1] * rates)


def test_replicas_are_not_clipped_silently(data):
    with pytest.raises(ParameterValueError, match="max_norm"):
        train_together([mlp([64, 10], "tanh")], data, Recipe(rate=0.1, steps=2, max_norm=1.0), [0])


def test_clipping_keeps_a_rate_from_diverging(data):
    def network():
        return initialise_(mlp([64, 20, 20, 10], "relu"), "normal", 0, std=1.0)

    assert train(network(), data, Recipe(rate=3.0, steps=20), 0).diverged
    assert not train(network(), data, Recipe(rate=3.0, steps=20, max_norm=0.01), 0).diverged


def test_equal_seeds_give_equal_bits(data):
    def run():
        return train(initialise_(mlp([64, 20, 10], "tanh"), "glorot_normal", 3), data, Recipe(0.1, 10), 3)

    runs = [run(), run()]
    assert runs[0] == runs[1]


def test_batches_depend_on_the_seed_alone():
    torch.manual_seed(5)
    first = torch.cat(list(batch_order(100, 30, 10, 1)))
    torch.manual_seed(6)
    assert torch.equal(first, torch.cat(list(batch_order(100, 30, 10, 1))))
    assert not torch.equal(first, torch.cat(list(batch_order(100, 30, 10, 2))))
    assert torch.equal(first[:100].sort().values, torch.arange(100))


@pytest.mark.parametrize(
    "values",
    [
        {"rate": 0.0},
        {"rate": math.nan},
        {"steps": 0},
        {"batch": 0},
        {"optimiser": "lion"},
        {"max_norm": 0.0},
        {"every": -1},
        {"smoothing": 1.0},
    ],
)
def test_a_recipe_out_of_range_is_refused(values):
    with pytest.raises(ParameterValueError):
        Recipe(**{"rate": 0.1, "steps": 1} | values)


def test_the_steps_to_a_target_are_those_of_the_smoothed_loss():
    run = Run((4.0, 0.0, 0.0, 0.0), (), (), smoothing=0.5)
    assert run.smoothed == [4.0, 2.0, 1.0, 0.5]
    assert (run.steps_to(1.0), run.steps_to(0.1)) == (3.0, math.inf)


def test_a_measurement_tells_what_a_run_did():
    run = Run((2.0, 1.0), (1, 2), (0.5, 0.4), smoothing=0.0)
    found = run.measurement(target=1.0)
    assert found.metrics == {"final_loss": 1.0, "diverged": 0.0, "accuracy": 0.4, "best_accuracy": 0.5, "steps": 2.0}
    assert found.curves == {"step": [1.0, 2.0], "loss": [2.0, 1.0], "measured": [1.0, 2.0], "accuracy": [0.5, 0.4]}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_fills_the_weights_and_zeroes_the_biases(scheme):
    options = {"constant": {"val": 0.1}, "delta_orthogonal": {}}.get(scheme, {})
    model = cnn([1, 4, 4], "relu", 10) if scheme == "delta_orthogonal" else mlp([8, 6, 4], "tanh")
    if scheme == "delta_orthogonal":
        del model.linear
    initialise_(model, scheme, 0, **options)
    for parameter in model.parameters():
        assert (parameter == 0).all() == (parameter.dim() < 2 or scheme == "zeros")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_networks_end_without_activation(activation):
    model = mlp([8, 6, 4], activation, BatchNorm1d, dropout=0.1)
    names = [name for name, _ in model.named_children()]
    assert names == ["linear1", "norm1", f"{activation}1", "dropout1", "linear2"]
    assert model(torch.randn(3, 8)).shape == (3, 4)
    assert cnn([1, 3, 5], activation, 4, BatchNorm2d, (2, 1))(torch.randn(2, 1, 8, 8)).shape == (2, 4)


def test_accuracy_puts_the_modes_back(data):
    model = mlp([64, 8, 10], "tanh", nn.BatchNorm1d)
    model.norm1.eval()
    accuracy(model, data)
    assert model.training
    assert not model.norm1.training


def test_looking_at_replicas_shows_what_training_alone_would_have_made_of_them(data):
    def models():
        return [initialise_(mlp([64, 20, 10], "tanh", BatchNorm1d), "glorot_normal", seed) for seed in SEEDS]

    seen = {}

    def look(step, replicas):
        seen[step] = [{name: value.clone() for name, value in model.state_dict().items()} for model in replicas]
        for model in replicas:
            assert model.training
            model.linear1.weight.data.zero_()

    given = models()
    runs = train_together(given, data, Recipe(rate=0.1, steps=8), SEEDS, look=look, at=(0, 5, 8))
    for model, fresh in zip(given, models(), strict=True):
        assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in model.state_dict().items())
    assert runs == train_together(models(), data, Recipe(rate=0.1, steps=8), SEEDS)
    assert list(seen) == [0, 5, 8]
    for index, (start, alone) in enumerate(zip(models(), models(), strict=True)):
        train(alone, data, Recipe(rate=0.1, steps=5), SEEDS[index])
        for step, model in ((0, start), (5, alone)):
            for name, value in model.state_dict().items():
                torch.testing.assert_close(seen[step][index][name], value, rtol=1e-3, atol=1e-5)


def test_nobody_looks_at_replicas_that_have_all_diverged(data):
    models = [initialise_(mlp([64, 16, 10], "relu"), "normal", seed, std=1.0) for seed in SEEDS]
    seen = []
    recipe = Recipe(rate=1e6, steps=30)
    train_together(models, data, recipe, SEEDS, look=lambda step, _: seen.append(step), at=(0, 30))
    assert seen == [0]


@pytest.mark.parametrize("step", [-1, 3, 0.5])
def test_steps_to_look_after_lie_within_the_recipe(data, step):
    with pytest.raises(ParameterValueError if step != 0.5 else TypeError, match="at"):
        train_together([mlp([64, 10], "tanh")], data, Recipe(rate=0.1, steps=2), [0], look=print, at=(step,))


def test_replicas_on_their_own_rows_train_as_they_would_alone_on_those(data):
    subsets = [torch.randperm(300, generator=torch.Generator().manual_seed(seed))[:120] for seed in SEEDS]

    def models():
        return [initialise_(mlp([64, 16, 10], "tanh"), "glorot_normal", seed) for seed in SEEDS]

    recipe = Recipe(rate=0.1, steps=20, batch=32)
    alone = []
    for model, rows, seed in zip(models(), subsets, SEEDS, strict=True):
        own = Split(data.inputs[rows], data.targets[rows], data.test_inputs, data.test_targets)
        alone.append(train(model, own, recipe, seed))
    alike(train_together(models(), data, recipe, SEEDS, subsets=subsets), alone)


@pytest.mark.parametrize("sizes", [(5,), (5, 6), (5, 5, 5)])
def test_subsets_must_be_one_for_each_replica_and_of_one_size(data, sizes):
    networks = [mlp([64, 10], "tanh") for _ in range(2)]
    with pytest.raises(ParameterValueError, match="subsets"):
        train_together(networks, data, Recipe(0.1, 2, 4), [0, 1], subsets=[torch.arange(size) for size in sizes])
