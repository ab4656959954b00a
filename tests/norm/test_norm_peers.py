"""What other libraries get wrong in batch normalisation layers, one test for each defect and all our layers."""

import copy

import pytest
import torch
from torch import nn

from evenflow.errors import NonFiniteError, ParameterValueError
from evenflow.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    BatchRenorm,
    GhostBatchNorm,
    LazyBatchNorm1d,
    MaskedBatchNorm,
    SyncBatchNorm,
)

KINDS = {
    "BatchNorm1d": (BatchNorm1d, (8, 3)),
    "BatchNorm2d": (BatchNorm2d, (8, 3, 2, 2)),
    "BatchNorm3d": (BatchNorm3d, (8, 3, 2, 2, 2)),
    "GhostBatchNorm": (lambda *args, **options: GhostBatchNorm(*args, ghost_batch_size=4, **options), (8, 3)),
    "BatchRenorm": (BatchRenorm, (8, 3, 4)),
    "MaskedBatchNorm": (MaskedBatchNorm, (8, 3, 4)),
    "SyncBatchNorm": (SyncBatchNorm, (8, 3)),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def batch(kind, seed=0):
    """Arguments of a call: the batch and, where there is one, its mask, which leaves out the last position."""
    x = torch.randn(KINDS[kind][1], generator=torch.Generator().manual_seed(seed))
    return (x, torch.arange(4).expand(8, 4) < 3) if kind == "MaskedBatchNorm" else (x,)


def make(kind, **options):
    return KINDS[kind][0](3, **options)


def state(layer):
    return copy.deepcopy(layer.state_dict())


def assert_state(layer, before):
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name]), name


@EVERY_KIND
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_peer_torch_one_nan_input_poisons_the_running_statistics_for_ever(kind, bad):
    layer = make(kind, on_nonfinite="skip", momentum=None)
    spoiled = batch(kind)
    for x in spoiled[0].split(4):
        x[(1, 1, *[0] * (x.dim() - 2))] = bad
    layer(*batch(kind, 1))
    before = state(layer)
    layer(*spoiled)
    assert_state(layer, before)
    layer(*batch(kind, 2))
    assert layer.running_var.isfinite().all()
    assert layer.num_batches_tracked == (4 if kind == "GhostBatchNorm" else 2)


@EVERY_KIND
def test_a_bad_batch_raises_where_that_is_wanted_and_propagates_where_not(kind):
    spoiled = batch(kind)
    spoiled[0].flatten(1)[:, 0] = torch.nan
    raising, propagating = make(kind, on_nonfinite="raise"), make(kind)
    before = state(raising)
    with pytest.raises(NonFiniteError, match=r"1 of 3 channels .*: 0"):
        raising(*spoiled)
    assert_state(raising, before)
    propagating(*spoiled)
    assert propagating.running_mean.isnan().tolist() == [True, False, False]


@EVERY_KIND
def test_peer_torch_a_rejected_batch_still_increments_num_batches_tracked(kind):
    layer = make(kind)
    layer(*batch(kind))
    before = state(layer)
    shape = [1, 3, *[1] * (len(KINDS[kind][1]) - 2)]
    for bad in (torch.zeros(shape), torch.zeros(3), torch.zeros(8, 4, *shape[2:]), torch.zeros(shape).long()):
        with pytest.raises((ValueError, TypeError)):
            layer(bad)
        assert_state(layer, before)


@EVERY_KIND
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_peer_torch_half_running_buffers_stall(kind, dtype):
    half, wide = make(kind, momentum=0.001).to(dtype), make(kind, momentum=0.001)
    x, *mask = batch(kind)
    x = (x + 5).to(dtype)
    for _ in range(400):
        half(x, *mask), wide(x.float(), *mask)
    torch.testing.assert_close(half.running_mean, wide.running_mean, rtol=1e-5, atol=0)
    torch.testing.assert_close(half.running_var, wide.running_var, rtol=1e-5, atol=0)
    assert half.running_mean.min() > 4 * (1 - 0.999**400)


def stacked(layers, **options):
    torch.manual_seed(0)
    model = nn.Sequential(*[BatchNorm1d(16, momentum=1.0, eps=1e-12, affine=False, **options) for _ in range(layers)])
    x = torch.randn(64, 16)
    trained = model.train()(x)
    return (model.eval()(x).std() / trained.std()).item()


def test_peer_torch_biased_in_the_batch_and_unbiased_in_the_buffer_shrinks_twenty_layers_to_0_854():
    assert abs(stacked(20) - (63 / 64) ** 10) < 1e-4
    assert round(stacked(20), 3) == 0.854
    assert abs(stacked(20, running_variance="biased") - 1) < 1e-5


@EVERY_KIND
def test_peer_torch_momentum_means_the_weight_of_the_new_value_elsewhere_of_the_old(kind):
    of_new, of_old = make(kind, momentum=0.25), make(kind, momentum=0.75, momentum_of="old")
    for layer in (of_new, of_old):
        layer(*batch(kind))
    assert torch.equal(of_new.running_mean, of_old.running_mean)
    assert torch.equal(of_new.running_var, of_old.running_var)


@EVERY_KIND
@pytest.mark.parametrize("momentum", [-3, 1.5, float("nan")])
@pytest.mark.parametrize("momentum_of", ["new", "old"])
def test_peer_torch_momentum_minus_3_is_accepted(kind, momentum, momentum_of):
    with pytest.raises(ParameterValueError, match="momentum"):
        make(kind, momentum=momentum, momentum_of=momentum_of)


def test_peer_torch_momentum_of_a_lazy_layer_is_not_looked_at_either():
    with pytest.raises(ParameterValueError, match="momentum"):
        LazyBatchNorm1d(momentum=-3)


@EVERY_KIND
def test_peer_torch_sync_batch_norm_refuses_cpu_tensors_and_none_of_ours_does(kind):
    x = batch(kind)
    assert make(kind)(*x).shape == x[0].shape
