"""Statistics of a step are committed or rolled back."""

import pytest
import torch
from torch import nn

from evenflow.norm import BatchNorm1d, LazyBatchNorm1d, provisional_statistics


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def model_and_batch():
    model = nn.Sequential(BatchNorm1d(3, accumulate=2), nn.Linear(3, 3), nn.BatchNorm1d(3))
    model(normal(8, 3))
    return model, normal(8, 3, seed=1)


def state(model):
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def assert_same(model, before):
    for name, value in before.items():
        assert torch.equal(model.get_buffer(name), value), name


def test_a_block_that_ends_has_committed():
    model, x = model_and_batch()
    before = state(model)
    with provisional_statistics(model):
        model(x)
    assert model[2].num_batches_tracked == 2
    assert not torch.equal(model[2].running_mean, before["2.running_mean"])


def test_roll_back_restores_every_bit_in_the_same_tensors():
    model, x = model_and_batch()
    before, buffers = state(model), [id(buffer) for buffer in model.buffers()]
    with provisional_statistics(model) as step:
        model(x)
        step.roll_back()
        assert_same(model, before)
        model(x)
        step.roll_back()
    assert_same(model, before)
    assert [id(buffer) for buffer in model.buffers()] == buffers


def test_a_block_that_raises_is_rolled_back():
    model, x = model_and_batch()
    before = state(model)

    def step():
        with provisional_statistics(model):
            model(x)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        step()
    assert_same(model, before)


def test_a_model_that_raises_half_way_is_rolled_back():
    model, x = model_and_batch()
    before = state(model)
    broken = nn.Sequential(*model, nn.Linear(5, 1))
    with pytest.raises(RuntimeError), provisional_statistics(broken):
        broken(x)
    assert_same(model, before)


def test_roll_back_comes_back_to_the_last_commit():
    model, x = model_and_batch()
    with provisional_statistics(model) as step:
        model(x)
        step.commit()
        between = state(model)
        model(x)
        step.roll_back()
    assert_same(model, between)


def test_blocks_nest():
    model, x = model_and_batch()
    before = state(model)
    with provisional_statistics(model) as outer:
        with provisional_statistics(model):
            model(x)
        outer.roll_back()
    assert_same(model, before)


def test_a_lazy_layer_that_got_its_shape_in_the_block_starts_again():
    layer = LazyBatchNorm1d()
    with provisional_statistics(layer) as step:
        layer(normal(4, 3) + 5)
        step.roll_back()
    assert layer.running_mean.tolist() == [0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1]
    assert layer.num_batches_tracked == 0


def test_layers_without_statistics_and_instance_normalisation_take_part():
    model = nn.Sequential(
        nn.BatchNorm1d(3, track_running_stats=False), nn.InstanceNorm1d(3, track_running_stats=True), nn.Dropout()
    )
    with provisional_statistics(model) as step:
        model(normal(2, 3, 5))
        assert model[1].running_mean.any()
        step.roll_back()
    assert not model[1].running_mean.any()


def test_a_skipped_step_of_training_leaves_no_trace():
    layer = BatchNorm1d(2, momentum=None)
    for values in ([1.0, 3.0], [1e30, -1e30], [5.0, 7.0]):
        x = torch.tensor(values).reshape(2, 1).expand(2, 2)
        with provisional_statistics(layer) as step:
            layer(x)
            if x.abs().max() > 1e6:
                step.roll_back()
    assert layer.num_batches_tracked == 2
    torch.testing.assert_close(layer.running_mean, torch.full((2,), 4.0))
