"""Declared conventions: what momentum weighs, which variance is kept, in which dtype, and frozen layers."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from evenflow.errors import ParameterTypeError, ParameterValueError, TensorShapeError, UnknownActivationError
from evenflow.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    BatchRenorm,
    GhostBatchNorm,
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    MaskedBatchNorm,
    SyncBatchNorm,
    batch_norm,
)

LAZY = (LazyBatchNorm1d, LazyBatchNorm2d)
OTHERS = (BatchNorm1d, BatchNorm2d, BatchNorm3d, GhostBatchNorm, MaskedBatchNorm, BatchRenorm, SyncBatchNorm)


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


@pytest.mark.parametrize("kind", [*OTHERS, *LAZY])
def test_an_unknown_keyword_is_told_of_the_layer_that_was_called(kind):
    channels = () if kind in LAZY else (3,)
    with pytest.raises(
        ParameterTypeError, match=rf"^{kind.__name__}\(\) has no keyword argument 'activate'.* activation,"
    ):
        kind(*channels, activate="relu")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "input must be a tensor; got NoneType"),
        (([[1.0, 2.0, 3.0]],), "input must be a tensor; got list"),
        ((np.zeros((4, 3)),), "input must be a tensor; got ndarray; torch.as_tensor"),
        ((torch.zeros(4, 3), 1.0), "residual must be a tensor .*or None; got 1.0"),
    ],
    ids=["none", "list", "array", "residual"],
)
@pytest.mark.parametrize("kind", [BatchNorm1d, GhostBatchNorm, SyncBatchNorm])
def test_what_is_no_tensor_is_refused_before_anything_moves(kind, arguments, message, training):
    layer = kind(3).train(training)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(ParameterTypeError, match=message):
        layer(*arguments)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_lazy_layer_learns_no_shape_from_what_is_no_tensor():
    layer = LazyBatchNorm1d()
    with pytest.raises(ParameterTypeError, match="input must be a tensor; got NoneType"):
        layer(None)
    assert layer.has_uninitialized_params()
    assert layer(normal(4, 5)).shape == (4, 5)


@pytest.mark.parametrize("bad", [None, 3.0, [[1.0]]])
def test_the_function_refuses_what_is_no_tensor(bad):
    with pytest.raises(ParameterTypeError, match="input must be a tensor"):
        batch_norm(bad, None, None, training=True)
    with pytest.raises(ParameterTypeError, match="residual must be a tensor"):
        batch_norm(torch.ones(2, 3), None, None, training=True, residual=1.0)


@pytest.mark.parametrize("training", [True, False])
def test_an_activation_that_was_set_later_is_checked_when_it_is_used(training):
    layer = BatchNorm1d(3).train(training)
    before = copy.deepcopy(layer.state_dict())
    layer.activation = "nonsense"
    with pytest.raises(UnknownActivationError, match="'nonsense'"):
        layer(normal(8, 3))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])
    layer.activation = "relu"
    assert layer(normal(8, 3)).min() == 0


def test_a_residual_of_another_shape_is_refused_before_anything_moves():
    layer = BatchNorm1d(3)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(TensorShapeError, match="residual"):
        layer(normal(8, 3), torch.ones(1, 3))
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])
