"""Each part of a batch is normalised by its own statistics."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenflow.errors import NonFiniteError, ParameterTypeError, ParameterValueError, TensorShapeError
from evenflow.norm import BatchNorm1d, BatchNorm2d, GhostBatchNorm


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@given(batch=st.integers(1, 20), size=st.integers(1, 9), momentum=st.sampled_from([0.1, None]), seed=st.integers(0, 9))
def test_it_is_the_plain_layer_called_for_each_part_in_turn(batch, size, momentum, seed):
    ghost = GhostBatchNorm(3, ghost_batch_size=size, momentum=momentum, activation="relu").double()
    plain = BatchNorm1d(3, momentum=momentum, activation="relu").double()
    x, rest = normal(batch, 3, 4, seed=seed).requires_grad_(), normal(batch, 3, 4, seed=seed + 1)
    count = -(-batch // size)
    expected = torch.cat([plain(*parts) for parts in zip(x.tensor_split(count), rest.tensor_split(count), strict=True)])
    y = ghost(x, rest)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(*[torch.autograd.grad(out.pow(3).sum(), x)[0] for out in (y, expected)])
    for mine, wanted in zip(ghost.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, wanted)
    assert ghost.num_batches_tracked == count


def test_parts_are_as_equal_as_can_be_and_none_is_left_alone():
    layer = GhostBatchNorm(2, ghost_batch_size=32)
    layer(normal(33, 2).float())
    assert layer.num_batches_tracked == 2


@pytest.mark.parametrize("size", [32, 100])
def test_a_small_batch_is_one_part(size):
    x = normal(10, 2)
    torch.testing.assert_close(GhostBatchNorm(2, ghost_batch_size=size).double()(x), BatchNorm1d(2).double()(x))


def test_in_eval_mode_there_are_no_parts():
    x = normal(10, 2)
    for layers in (
        [GhostBatchNorm(2, ghost_batch_size=2), BatchNorm1d(2)],
        [kind(2, track_running_stats=False) for kind in (GhostBatchNorm, BatchNorm1d)],
    ):
        ours, plain = (layer.double().eval() for layer in layers)
        torch.testing.assert_close(ours(x), plain(x))


def test_frozen_there_are_no_parts_either():
    x = normal(10, 2)
    torch.testing.assert_close(GhostBatchNorm(2, ghost_batch_size=2, frozen=True).double()(x), x / (1 + 1e-5) ** 0.5)


def test_only_the_bad_part_is_left_out():
    skipping = GhostBatchNorm(2, ghost_batch_size=4, on_nonfinite="skip").double()
    plain = BatchNorm1d(2).double()
    x = normal(12, 2)
    x[5, 0] = torch.nan
    y = skipping(x)
    assert y[4:8, 0].isnan().all()
    assert y[:4].isfinite().all()
    plain(x[:4]), plain(x[8:])
    torch.testing.assert_close(skipping.running_mean, plain.running_mean)
    assert skipping.num_batches_tracked == 2


def test_raise_changes_nothing_even_when_the_last_part_is_the_bad_one():
    layer = GhostBatchNorm(2, ghost_batch_size=4, on_nonfinite="raise")
    x = normal(12, 2).float()
    x[11, 1] = torch.inf
    with pytest.raises(NonFiniteError):
        layer(x)
    assert layer.num_batches_tracked == 0
    assert not layer.running_mean.any()


def test_a_part_of_one_value_is_rejected_and_an_empty_batch_is_not():
    layer = GhostBatchNorm(2, ghost_batch_size=1)
    with pytest.raises(TensorShapeError, match="more than one value"):
        layer(normal(4, 2).float())
    assert layer.num_batches_tracked == 0
    assert layer(torch.zeros(0, 2)).shape == (0, 2)
    assert layer(torch.zeros(4, 2, 0)).shape == (4, 2, 0)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("size", "error"), [(0, ParameterValueError), (-2, ParameterValueError), (2.5, ParameterTypeError)]
)
def test_bad_sizes_are_named(size, error):
    with pytest.raises(error, match="ghost_batch_size"):
        GhostBatchNorm(3, ghost_batch_size=size)


def test_repr_and_state_dict():
    layer = GhostBatchNorm(3, ghost_batch_size=8)
    assert "ghost_batch_size=8" in repr(layer)
    BatchNorm2d(3).load_state_dict(layer.state_dict())
