"""Spread gradients in one process; several processes are in tests/distributed."""

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Shard, distribute_tensor

from evenflow.clip import clip_grad_norm_, clip_grad_value_
from evenflow.errors import ShardingError


@pytest.fixture
def mesh():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        yield init_device_mesh("cpu", (1,))
    finally:
        distributed.destroy_process_group()


def sharded(mesh):
    parameter = nn.Parameter(distribute_tensor(torch.zeros(4, 2), mesh, [Shard(0)]))
    parameter.grad = distribute_tensor(torch.ones(4, 2), mesh, [Shard(0)])
    return parameter


def test_a_norm_is_a_dtensor_that_is_whole_as_torchs_is(mesh):
    parameter = sharded(mesh)
    norm = clip_grad_norm_([parameter], 1.0)
    assert isinstance(norm, DTensor)
    assert float(norm) == pytest.approx(8**0.5)
    assert norm.full_tensor() == norm.item()
    assert norm.isfinite()
    torch.testing.assert_close(parameter.grad.full_tensor(), torch.full((4, 2), 8**-0.5))


def test_autograd_hears_of_the_write(mesh):
    parameter = sharded(mesh)
    versions = parameter.grad._version
    clip_grad_norm_([parameter], 1.0)
    assert parameter.grad._version > versions


def test_parts_of_a_sum_are_summed_for_the_norm_and_refused_by_value(mesh):
    parameter = nn.Parameter(distribute_tensor(torch.zeros(4, 2), mesh, [Shard(0)]))
    parameter.grad = None
    gradient = DTensor.from_local(torch.ones(4, 2), mesh, [Partial()])
    whole = nn.Parameter(DTensor.from_local(torch.zeros(4, 2), mesh, [Partial()]))
    whole.grad = gradient
    assert float(clip_grad_norm_([whole], 1.0)) == pytest.approx(8**0.5)
    torch.testing.assert_close(gradient.full_tensor(), torch.full((4, 2), 8**-0.5))
    with pytest.raises(ShardingError, match=r"tensor 0 of shape \(4, 2\) has the placements"):
        clip_grad_value_([whole], 1.0)


def test_a_value_is_clipped_where_it_lies(mesh):
    parameter = sharded(mesh)
    clip_grad_value_([parameter], 0.5)
    assert torch.equal(parameter.grad.full_tensor(), torch.full((4, 2), 0.5))
