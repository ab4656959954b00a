"""Declared conventions: what momentum weighs, which variance is kept, in which dtype, and frozen layers."""

import copy

import pytest
import torch
from torch import nn

from evenflow.errors import ParameterTypeError, ParameterValueError, TensorShapeError
from evenflow.norm import BatchNorm1d, BatchNorm2d, GhostBatchNorm, MaskedBatchNorm, SyncBatchNorm


def normal(*shape, dtype=torch.float32, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_momentum_of_the_old_value_is_kept_in_torchs_meaning():
    old, new = BatchNorm1d(3, momentum=0.75, momentum_of="old"), BatchNorm1d(3, momentum=0.25)
    x = normal(8, 3)
    old(x), new(x)
    assert old.momentum == 0.25
    assert torch.equal(old.running_mean, new.running_mean)
    assert torch.equal(old.running_var, new.running_var)


def test_momentum_none_averages_all_batches_whoever_it_is_of():
    layer = BatchNorm1d(1, momentum=None, momentum_of="old")
    for value in (1.0, 2.0, 6.0):
        layer(torch.tensor([[value - 1], [value + 1]]))
    torch.testing.assert_close(layer.running_mean, torch.tensor([3.0]))


@pytest.mark.parametrize(("convention", "correction"), [("unbiased", 1), ("biased", 0)])
@pytest.mark.parametrize("kind", [BatchNorm1d, SyncBatchNorm, MaskedBatchNorm])
def test_running_variance_is_divided_as_declared(kind, convention, correction):
    layer = kind(3, momentum=1.0, running_variance=convention)
    x = normal(8, 3)
    layer(*(x, torch.ones(8, dtype=torch.bool)) if kind is MaskedBatchNorm else (x,))
    torch.testing.assert_close(layer.running_var, x.var(0, correction=correction))


def test_float64_statistics_lose_nothing_over_many_small_steps():
    layer = BatchNorm1d(1, momentum=1e-5, statistics_dtype=torch.float64)
    narrow = BatchNorm1d(1, momentum=1e-5)
    x = torch.tensor([[4.0], [6.0]])
    for _ in range(3000):
        layer(x), narrow(x)
    expected = 5 * (1 - (1 - 1e-5) ** 3000)
    assert layer.running_mean.dtype == torch.float64
    assert abs(layer.running_mean.item() - expected) < 1e-12
    assert abs(narrow.running_mean.item() - expected) > 1e-9


def test_float64_statistics_of_a_float32_batch_are_those_of_the_batch_in_float64():
    x = normal(512, 2) + 1e7
    layer = BatchNorm1d(2, momentum=1.0, statistics_dtype=torch.float64)
    y = layer(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(layer.running_mean, x.double().mean(0), rtol=1e-14, atol=0)
    torch.testing.assert_close(layer.running_var, x.double().var(0), rtol=1e-8, atol=0)


@pytest.mark.parametrize("cast", [lambda m: m.half(), lambda m: m.float(), lambda m: m.to(torch.bfloat16)])
def test_statistics_keep_their_least_dtype_through_casts(cast):
    layer = cast(BatchNorm1d(3, statistics_dtype=torch.float64, accumulate=2))
    assert layer.running_mean.dtype == layer.running_var.dtype == torch.float64
    assert layer.group_mean.dtype == layer.group_var.dtype == torch.float64
    assert layer.group_count.dtype == torch.int64
    assert layer(normal(4, 3).to(layer.weight.dtype)).dtype == layer.weight.dtype


def test_float64_statistics_go_to_torch_and_back():
    layer, torchs = BatchNorm1d(3, statistics_dtype=torch.float64), nn.BatchNorm1d(3)
    layer(normal(8, 3))
    torchs.load_state_dict(layer.state_dict())
    back = BatchNorm1d(3, statistics_dtype=torch.float64)
    back.load_state_dict(torchs.state_dict())
    assert back.running_mean.dtype == torch.float64
    torch.testing.assert_close(back.running_mean, layer.running_mean, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("how", ["option", "attribute"])
def test_a_frozen_layer_stays_frozen_in_train_mode(how):
    layer = BatchNorm2d(3, frozen=how == "option")
    layer.frozen = True
    with torch.no_grad():
        layer.running_mean.fill_(2.0)
    model = nn.Sequential(layer).train()
    x = normal(4, 3, 5, 5).requires_grad_()
    y = model(x)
    torch.testing.assert_close(y, (x - 2) / (1 + layer.eps) ** 0.5)
    assert layer.running_mean.eq(2).all()
    assert layer.running_var.eq(1).all()
    assert layer.num_batches_tracked == 0
    (gradient,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, (1 + layer.eps) ** -0.5))


def test_thawing_is_setting_the_attribute():
    layer = BatchNorm1d(3, frozen=True)
    assert "frozen=True" in repr(layer)
    layer.frozen = False
    layer(normal(8, 3))
    assert layer.num_batches_tracked == 1


def test_a_frozen_layer_takes_a_single_value_and_nan():
    layer = BatchNorm1d(3, frozen=True, on_nonfinite="raise")
    assert layer(torch.full((1, 3), torch.nan)).isnan().all()


def test_a_layer_of_torch_that_becomes_one_of_ours_has_the_defaults():
    layer = nn.BatchNorm1d(3)
    layer.__class__ = BatchNorm1d
    torchs = nn.BatchNorm1d(3)
    x = normal(8, 3)
    torch.testing.assert_close(layer(x), torchs(x))
    torch.testing.assert_close(layer.running_var, torchs.running_var)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"momentum_of": "both"}, ParameterValueError),
        ({"momentum_of": None}, ParameterTypeError),
        ({"running_variance": "population"}, ParameterValueError),
        ({"statistics_dtype": torch.bfloat16}, ParameterValueError),
        ({"statistics_dtype": torch.int64}, ParameterValueError),
        ({"statistics_dtype": "float64"}, ParameterValueError),
        ({"accumulate": 0}, ParameterValueError),
        ({"accumulate": 2.0}, ParameterTypeError),
        ({"frozen": True, "track_running_stats": False}, ParameterValueError),
    ],
)
@pytest.mark.parametrize("kind", [BatchNorm1d, GhostBatchNorm, SyncBatchNorm])
def test_bad_options_are_named(kind, options, error):
    with pytest.raises(error, match=next(iter(options))):
        kind(3, **options)


def test_a_residual_of_another_shape_is_refused_before_anything_moves():
    layer = BatchNorm1d(3)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(TensorShapeError, match="residual"):
        layer(normal(8, 3), torch.ones(1, 3))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])
