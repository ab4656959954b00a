"""The first batch gives a lazy layer its number of channels."""

import pickle

import pytest
import torch
from torch import nn

from evenflow.errors import TensorShapeError
from evenflow.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    LazyBatchNorm1d,
    LazyBatchNorm2d,
    LazyBatchNorm3d,
)

KINDS = [
    (LazyBatchNorm1d, BatchNorm1d, nn.LazyBatchNorm1d, (4, 3)),
    (LazyBatchNorm1d, BatchNorm1d, nn.LazyBatchNorm1d, (4, 3, 5)),
    (LazyBatchNorm2d, BatchNorm2d, nn.LazyBatchNorm2d, (4, 3, 5, 5)),
    (LazyBatchNorm3d, BatchNorm3d, nn.LazyBatchNorm3d, (4, 3, 2, 2, 2)),
]
OPTIONS = [{}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}, {"bias": False}]


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("lazy", "kind", "torchs", "shape"), KINDS)
@pytest.mark.parametrize("options", OPTIONS)
def test_it_becomes_the_layer_that_torchs_becomes(lazy, kind, torchs, shape, options):
    ours, theirs, x = lazy(**options), torchs(**options), normal(*shape)
    assert isinstance(ours, torchs)
    torch.testing.assert_close(ours(x), theirs(x))
    assert type(ours) is kind
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours(x), theirs(x))


def test_it_keeps_its_options():
    layer = LazyBatchNorm1d(
        activation="relu",
        on_nonfinite="skip",
        momentum=0.75,
        momentum_of="old",
        running_variance="biased",
        accumulate=2,
    )
    plain = BatchNorm1d(
        3, momentum=0.25, running_variance="biased", accumulate=2, activation="relu", on_nonfinite="skip"
    )
    for seed in range(3):
        x = normal(4, 3, seed=seed)
        torch.testing.assert_close(layer(x), plain(x))
    assert repr(layer) == repr(plain)
    for mine, wanted in zip(layer.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("options", OPTIONS)
def test_state_dicts_load_into_it(options):
    trained, lazy = BatchNorm1d(3, **options), LazyBatchNorm1d(**options)
    trained(normal(8, 3))
    lazy.load_state_dict(trained.state_dict())
    x = normal(4, 3, seed=1)
    torch.testing.assert_close(lazy(x), trained(x))
    assert lazy.num_features == 3


def test_torchs_checkpoint_of_a_lazy_model_loads():
    torchs, ours = (
        nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()),
        nn.Sequential(nn.LazyLinear(3), LazyBatchNorm1d()),
    )
    ours.load_state_dict(torchs.state_dict())
    ours(normal(4, 2))
    torchs.load_state_dict(ours.state_dict())


def test_a_batch_of_the_wrong_dimensions_leaves_it_lazy():
    layer = LazyBatchNorm2d()
    with pytest.raises(TensorShapeError, match="4-dimensional"):
        layer(normal(4, 3))
    assert layer.has_uninitialized_params()
    assert layer(normal(4, 7, 2, 2)).shape == (4, 7, 2, 2)


def test_half_parameters_have_float32_statistics():
    layer = LazyBatchNorm1d(dtype=torch.float16)
    layer(normal(4, 3).half())
    assert layer.weight.dtype == torch.float16
    assert layer.running_mean.dtype == torch.float32
    moved = LazyBatchNorm1d().half()
    moved(normal(4, 3).half())
    assert moved.running_mean.dtype == torch.float32


def test_the_first_batch_may_come_with_a_residual():
    x = normal(4, 3)
    torch.testing.assert_close(LazyBatchNorm1d()(x, x), BatchNorm1d(3)(x, x))


def test_a_pickled_lazy_layer_is_lazy():
    layer = pickle.loads(pickle.dumps(LazyBatchNorm1d(activation="tanh")))
    assert layer(normal(4, 3)).abs().max() <= 1
