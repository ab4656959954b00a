"""`accumulate=k`: the running statistics move once for k batches, by the moments of all their values."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evenflow.errors import NonFiniteError, TensorShapeError
from evenflow.norm import BatchNorm1d, GhostBatchNorm, MaskedBatchNorm, provisional_statistics


def normal(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def state(layer):
    return {name: buffer.clone() for name, buffer in layer.named_buffers()}


def assert_same(now, before):
    for name, value in before.items():
        assert torch.equal(now[name], value), name


@given(
    sizes=st.lists(st.integers(2, 6), min_size=2, max_size=5),
    mean=st.sampled_from([0.0, 1e6]),
    convention=st.sampled_from(["biased", "unbiased"]),
    momentum=st.sampled_from([0.1, 1.0, None]),
    seed=st.integers(0, 99),
)
def test_peer_torch_gradient_accumulation_sees_micro_batch_statistics(sizes, mean, convention, momentum, seed):
    k = len(sizes)
    options = {"momentum": momentum, "running_variance": convention, "dtype": torch.float64}
    parted, whole = BatchNorm1d(3, accumulate=k, **options), BatchNorm1d(3, **options)
    for step in range(2):
        parts = [normal(size, 3, seed=seed + size + step) + mean for size in sizes]
        for part in parts:
            parted(part)
        whole(torch.cat(parts))
        assert parted.num_batches_tracked == whole.num_batches_tracked == step + 1
        torch.testing.assert_close(parted.running_mean, whole.running_mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(parted.running_var, whole.running_var, rtol=1e-8, atol=1e-12)


def test_nothing_moves_before_the_group_is_whole():
    layer = BatchNorm1d(3, accumulate=3)
    for _ in range(2):
        layer(normal(4, 3).float())
        assert layer.num_batches_tracked == 0
        assert not layer.running_mean.any()
    layer(normal(4, 3).float())
    assert layer.num_batches_tracked == 1
    assert layer.running_mean.any()


def test_the_state_dict_is_torchs():
    assert list(BatchNorm1d(3, accumulate=4).state_dict()) == list(torch.nn.BatchNorm1d(3).state_dict())


def test_the_rest_of_an_epoch_counts_as_a_batch_when_it_is_finished():
    layer, whole = BatchNorm1d(3, accumulate=4, dtype=torch.float64), BatchNorm1d(3, dtype=torch.float64)
    parts = [normal(4, 3), normal(2, 3, seed=1)]
    for part in parts:
        layer(part)
    layer.finish_accumulation()
    whole(torch.cat(parts))
    torch.testing.assert_close(layer.running_var, whole.running_var)
    assert layer.num_batches_tracked == 1
    before = state(layer)
    layer.finish_accumulation()
    assert_same(state(layer), before)


def test_setting_it_begins_a_new_group():
    layer = BatchNorm1d(3, accumulate=2)
    layer(normal(4, 3).float())
    layer.accumulate = 3
    assert layer.group_batches == 0
    layer.accumulate = 1
    assert not hasattr(layer, "group_mean")
    layer(normal(4, 3).float())
    assert layer.num_batches_tracked == 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_batch_spoils_its_group_as_it_would_the_whole_batch_and_no_other(bad):
    layer = BatchNorm1d(3, accumulate=2, on_nonfinite="skip")
    x = normal(4, 3).float()
    x[1, 1] = bad
    layer(x)
    layer(normal(4, 3).float())
    assert layer.num_batches_tracked == 0
    assert not layer.running_mean.any()
    for seed in (1, 2):
        layer(normal(4, 3, seed=seed).float())
    assert layer.num_batches_tracked == 1
    assert layer.running_mean.isfinite().all()


def test_raise_leaves_the_group_as_it_was():
    layer = BatchNorm1d(3, accumulate=2, on_nonfinite="raise")
    layer(normal(4, 3).float())
    before = state(layer)
    with pytest.raises(NonFiniteError):
        layer(torch.full((4, 3), torch.nan))
    assert_same(state(layer), before)


def test_rejected_and_empty_batches_do_not_count():
    layer = BatchNorm1d(3, accumulate=2)
    layer(normal(4, 3).float())
    before = state(layer)
    layer(torch.zeros(0, 3))
    with pytest.raises(TensorShapeError):
        layer(torch.zeros(1, 3))
    assert_same(state(layer), before)


def test_masked_batches_weigh_by_their_valid_positions():
    masked, plain = MaskedBatchNorm(2, accumulate=2, momentum=1.0), BatchNorm1d(2, momentum=1.0)
    xs, masks = [normal(3, 2, 4, seed=s).float() for s in (0, 1)], [normal(3, 4, seed=s) > 0 for s in (2, 3)]
    for x, mask in zip(xs, masks, strict=True):
        masked(x, mask)
    plain(torch.cat([x.transpose(1, 2)[mask] for x, mask in zip(xs, masks, strict=True)]))
    torch.testing.assert_close(masked.running_mean, plain.running_mean)
    torch.testing.assert_close(masked.running_var, plain.running_var)


def test_ghost_batches_are_batches_of_a_group():
    ghosts = GhostBatchNorm(2, ghost_batch_size=4, accumulate=2, dtype=torch.float64)
    whole = BatchNorm1d(2, dtype=torch.float64)
    x = normal(8, 2)
    ghosts(x), whole(x)
    torch.testing.assert_close(ghosts.running_var, whole.running_var)
    assert ghosts.num_batches_tracked == 1


def test_groups_survive_copies_and_casts_and_are_rolled_back():
    layer = BatchNorm1d(3, accumulate=2)
    layer(normal(4, 3).float())
    twin = copy.deepcopy(layer).half()
    assert torch.equal(twin.group_mean, layer.group_mean)
    before = state(layer)
    with provisional_statistics(layer) as step:
        layer(normal(4, 3, seed=1).float())
        step.roll_back()
    assert_same(state(layer), before)


def test_a_whole_model_can_be_set():
    model = torch.nn.Sequential(BatchNorm1d(3), torch.nn.ReLU(), BatchNorm1d(3))
    for module in model.modules():
        if isinstance(module, BatchNorm1d):
            module.accumulate = 2
    model(normal(4, 3).float())
    assert model[2].num_batches_tracked == 0
    model(normal(4, 3).float())
    assert model[2].num_batches_tracked == 1


def test_a_loaded_state_dict_begins_a_new_group():
    layer, loaded = BatchNorm1d(3, accumulate=2), BatchNorm1d(3)
    layer(normal(4, 3).float())
    layer.load_state_dict(loaded.state_dict())
    assert layer.group_batches == 0


def test_a_checkpoint_inside_a_group_keeps_what_was_finished():
    layer, resumed = (BatchNorm1d(3, accumulate=3, dtype=torch.float64) for _ in range(2))
    layer(normal(4, 3))
    resumed.load_state_dict(layer.state_dict())
    assert resumed.group_batches == 0
    assert_same(dict(resumed.state_dict()), BatchNorm1d(3, dtype=torch.float64).state_dict())
    layer.finish_accumulation()
    resumed.load_state_dict(layer.state_dict())
    assert resumed.num_batches_tracked == 1
    assert_same(dict(resumed.state_dict()), layer.state_dict())


def test_a_batch_that_is_all_padding_does_not_count():
    layer = MaskedBatchNorm(2, accumulate=2)
    x, mask = normal(3, 2, 4).float(), torch.ones(3, 4, dtype=torch.bool)
    layer(x, mask)
    before = state(layer)
    layer(x, ~mask)
    assert_same(state(layer), before)
    layer(x, mask)
    assert layer.num_batches_tracked == 1
    layer(x, ~mask)
    assert layer.num_batches_tracked == 1
    assert layer.group_batches == 0
