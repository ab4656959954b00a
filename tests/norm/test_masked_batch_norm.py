"""Padding has no part in the statistics, the output, or the gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenflow.errors import NonFiniteError, TensorDtypeError, TensorShapeError
from evenflow.norm import BatchNorm1d, BatchNorm2d, MaskedBatchNorm


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def valid_only(x, mask):
    """The valid positions as a batch of their own, (position, channel)."""
    return x.movedim(1, -1)[mask]


@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 1),
    activation=st.sampled_from([None, "relu", "sigmoid"]),
    mean=st.sampled_from([0.0, 1e5]),
    padding=st.sampled_from([0.0, 1e30, float("nan"), float("inf")]),
    seed=st.integers(0, 99),
)
def test_peer_torch_no_masked_batch_norm_for_padded_sequences(lengths, activation, mean, padding, seed):
    mask = torch.arange(6) < torch.tensor(lengths).unsqueeze(1)
    x = torch.where(mask.unsqueeze(1), normal(len(lengths), 3, 6, seed=seed) + mean, padding).requires_grad_()
    masked, plain = (kind(3, activation=activation).double() for kind in (MaskedBatchNorm, BatchNorm1d))
    y = masked(x, mask)
    expected = plain(valid_only(x, mask))
    torch.testing.assert_close(valid_only(y, mask), expected, rtol=1e-6, atol=1e-6)
    assert valid_only(y, ~mask).eq(0).all()
    weights = normal(*expected.shape, seed=1)
    expected_gradient = torch.autograd.grad((expected * weights).sum(), x)[0]
    gradient = torch.autograd.grad((valid_only(y, mask) * weights).sum() + y.sum() * 0, x)[0]
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-6, atol=1e-6)
    assert valid_only(gradient, ~mask).eq(0).all()
    for mine, wanted in zip(masked.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_peer_keras_mask_crashes_with_one_channel(training):
    layer = MaskedBatchNorm(1).train(training)
    x, mask = normal(2, 1, 3).float(), torch.tensor([[True, True, False], [True, False, False]])
    assert layer(x, mask).shape == (2, 1, 3)
    assert layer(x, mask)[~mask.unsqueeze(1)].eq(0).all()


def test_padding_that_changes_changes_nothing():
    x, mask = normal(4, 3, 5), normal(4, 5, seed=1) > 0
    other = torch.where(mask.unsqueeze(1), x, 7.0)
    layers = MaskedBatchNorm(3).double(), MaskedBatchNorm(3).double()
    assert torch.equal(layers[0](x, mask), layers[1](other, mask))
    assert torch.equal(layers[0].running_var, layers[1].running_var)


@pytest.mark.parametrize("training", [True, False])
def test_no_mask_and_a_mask_of_ones_are_the_plain_layer(training):
    x = normal(4, 3, 5)
    plain, without, ones = (
        kind(3, activation="tanh").double().train(training) for kind in (BatchNorm1d, MaskedBatchNorm, MaskedBatchNorm)
    )
    expected = plain(x)
    torch.testing.assert_close(without(x), expected)
    torch.testing.assert_close(ones(x, torch.ones(4, 5, dtype=torch.bool)), expected)
    torch.testing.assert_close(ones.running_var, plain.running_var)


def test_in_eval_mode_valid_positions_are_normalised_by_the_population_and_padding_is_zero():
    layer = MaskedBatchNorm(3).double().eval()
    x, mask = normal(4, 3, 5), normal(4, 5, seed=1) > 0
    y = layer(torch.where(mask.unsqueeze(1), x, torch.nan), mask)
    torch.testing.assert_close(valid_only(y, mask), BatchNorm1d(3).double().eval()(valid_only(x, mask)))
    assert valid_only(y, ~mask).eq(0).all()


def test_images_have_masks_too():
    x, mask = normal(2, 3, 4, 5), normal(2, 4, 5, seed=1) > 0
    layer = MaskedBatchNorm(3).double()
    torch.testing.assert_close(valid_only(layer(x, mask), mask), BatchNorm1d(3).double()(valid_only(x, mask)))


def test_residual_is_added_where_valid():
    x, rest, mask = normal(2, 3, 4), normal(2, 3, 4, seed=1), normal(2, 4, seed=2) > 0
    layer, plain = MaskedBatchNorm(3, activation="relu").double(), MaskedBatchNorm(3).double()
    expected = torch.where(mask.unsqueeze(1), (plain(x, mask) + rest).relu(), 0)
    torch.testing.assert_close(layer(x, mask, rest), expected)


@pytest.mark.parametrize("on_nonfinite", ["propagate", "skip", "raise"])
def test_a_batch_of_padding_alone_changes_nothing(on_nonfinite):
    layer = MaskedBatchNorm(3, on_nonfinite=on_nonfinite)
    x = torch.full((2, 3, 4), torch.nan, requires_grad=True)
    y = layer(x, torch.zeros(2, 4, dtype=torch.bool))
    assert y.eq(0).all()
    y.sum().backward()
    assert x.grad.eq(0).all()
    assert layer.num_batches_tracked == 0
    assert layer.running_var.eq(1).all()


def test_one_valid_position_is_rejected_in_training_and_taken_in_eval_mode():
    layer = MaskedBatchNorm(3)
    x, mask = normal(2, 3, 4).float(), torch.zeros(2, 4, dtype=torch.bool)
    mask[1, 2] = True
    with pytest.raises(TensorShapeError, match="more than one value"):
        layer(x, mask)
    assert layer.num_batches_tracked == 0
    assert layer.eval()(x, mask).shape == x.shape


def test_nan_at_a_valid_position_is_seen():
    layer = MaskedBatchNorm(3, on_nonfinite="raise")
    x, mask = normal(2, 3, 4).float(), torch.ones(2, 4, dtype=torch.bool)
    x[0, 1, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"1 of 3 channels .*: 1"):
        layer(x, mask)
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        (torch.ones(2, 4), TensorDtypeError),
        (torch.ones(2, 3, 4, dtype=torch.bool), TensorShapeError),
        (torch.ones(2, 5, dtype=torch.bool), TensorShapeError),
        (torch.ones(2, dtype=torch.bool), TensorShapeError),
    ],
)
def test_masks_that_do_not_fit_are_named(mask, error):
    with pytest.raises(error, match="mask must"):
        MaskedBatchNorm(3)(torch.zeros(2, 3, 4), mask)


def test_a_channels_last_batch_stays_one():
    x = normal(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    y = MaskedBatchNorm(3).double()(x, normal(2, 4, 5) > 0)
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_second_derivatives_agree_with_finite_differences():
    layer, mask = MaskedBatchNorm(2, track_running_stats=False).double(), normal(3, 4, seed=1) > -0.5
    x = normal(3, 2, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda data: layer(data, mask), x)
    assert torch.autograd.gradgradcheck(lambda data: layer(data, mask), x)


def test_state_dicts_are_those_of_the_plain_layers():
    masked, plain = MaskedBatchNorm(3), BatchNorm2d(3)
    masked.load_state_dict(plain.state_dict())
    plain.load_state_dict(masked.state_dict())
