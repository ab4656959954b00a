import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from evenflow.clip import clip_grad_norm_, clip_grad_value_
from evenflow.errors import ParameterTypeError


@pytest.fixture
def sharded():
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        parameter = nn.Parameter(distribute_tensor(torch.zeros(4, 2), mesh, [Shard(0)]))
        parameter.grad = distribute_tensor(torch.ones(4, 2), mesh, [Shard(0)])
        yield parameter
    finally:
        distributed.destroy_process_group()


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_a_sharded_gradient_is_refused(sharded, clip):
    with pytest.raises(ParameterTypeError, match="DTensor"):
        clip([sharded], 1.0)
