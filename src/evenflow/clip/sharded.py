"""Gradients that are spread over processes: what is here of them, and numbers of the whole.

A tensor that is not a `torch.distributed.tensor.DTensor` is whole in every process, as under DistributedDataParallel.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evenflow.errors import ShardingError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.tensor import DTensor

Doubles = NDArray[np.float64]
Combine = Callable[[Doubles], Doubles]


def is_sharded(tensor: object) -> "TypeGuard[DTensor]":
    """Tell whether a tensor is a DTensor."""
    # Who has a DTensor has imported this; nobody else is to wait for it.
    if "torch.distributed.tensor" not in sys.modules:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def here(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor, sharing its memory."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def summed_here(tensor: Tensor) -> Tensor:
    """Return what this process holds of the values of a tensor; a sum that is still to be made is made first."""
    if not is_sharded(tensor):
        return tensor
    from torch.distributed.tensor import Replicate

    placements = [Replicate() if placed.is_partial() else placed for placed in tensor.placements]
    return tensor.redistribute(placements=placements).to_local()


def require_summed(tensor: Tensor, label: str) -> None:
    """Refuse a tensor whose entries are parts of a sum: clipping the parts does not clip the sum.

    Raises:
        ShardingError: It has a `Partial` placement.
    """
    if is_sharded(tensor) and any(placed.is_partial() for placed in tensor.placements):
        raise ShardingError(
            f"{label} has the placements {list(tensor.placements)}: its entries are parts of a sum still to be made; "
            "redistribute it before clipping by value, or clip by norm"
        )


def over_processes(tensors: Sequence[Tensor], numbers: Doubles, combine: Combine) -> Doubles:
    """Combine a number for the part of each tensor that is here with those of the other processes.

    Args:
        tensors: The tensors; every process has to list the same ones.
        numbers: One row for each, or one number.
        combine: From a stack of such arrays, one for each process of a group, to one: a function that sums or the
            like, over the first axis.

    Returns:
        The numbers of the whole tensors, equal in all processes that hold a part.
    """
    result = numbers.copy()
    groups: dict[tuple[DeviceMesh, int], list[int]] = {}
    for place, tensor in enumerate(tensors):
        if is_sharded(tensor):
            for dim in _cut_dims(tensor):
                groups.setdefault((tensor.device_mesh, dim), []).append(place)
    for (mesh, dim), places in groups.items():
        result[places] = combine(_gathered(result[places], mesh, dim))
    return result


def over_mesh(tensor: Tensor, dim: int, numbers: Doubles, combine: Combine) -> Doubles:
    """Combine numbers with those of the other processes along one dimension of the mesh of a sharded tensor."""
    if not is_sharded(tensor) or tensor.device_mesh.get_coordinate() is None:
        return numbers
    return combine(_gathered(numbers, tensor.device_mesh, dim))


def refuse_flat_parameters(parameters: object) -> None:
    """Refuse models and parameters of the older wrapper, whose pieces do not tell where they belong.

    Raises:
        ShardingError: There is one.
    """
    if "torch.distributed.fsdp" not in sys.modules:
        return
    from torch.distributed.fsdp import FullyShardedDataParallel

    wrapped: Iterable[Any] = parameters.modules() if isinstance(parameters, nn.Module) else ()
    listed: Iterable[Any] = parameters if isinstance(parameters, list) else ()
    if any(isinstance(module, FullyShardedDataParallel) for module in wrapped) or any(
        getattr(item, "_is_flat_param", False) for item in listed
    ):
        raise ShardingError(
            "the parameters of FullyShardedDataParallel are pieces that do not tell which other process holds the "
            "rest; call the wrapper's own clip_grad_norm_, or shard the model with fully_shard"
        )


def _cut_dims(tensor: "DTensor") -> list[int]:
    """List the dimensions of the mesh along which processes hold different parts, if this process is in the mesh."""
    if tensor.device_mesh.get_coordinate() is None:
        return []
    return [dim for dim, placed in enumerate(tensor.placements) if not (placed.is_replicate() or placed.is_partial())]


def _gathered(numbers: Doubles, mesh: "DeviceMesh", dim: int) -> Doubles:
    """Return the numbers of all processes along one dimension of a mesh, in the order of their ranks."""
    import torch.distributed as dist

    group = mesh.get_group(dim)
    mine = torch.from_numpy(np.ascontiguousarray(numbers)).to(mesh.device_type)
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, mine, group=group)
    gathered: Doubles = torch.stack(parts).cpu().numpy()
    return gathered
