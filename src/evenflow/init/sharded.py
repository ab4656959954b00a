"""The elements of a tensor that this process holds, and where they lie in the whole.

A tensor that is not a `torch.distributed.tensor.DTensor` is held whole.
"""

import sys
from collections.abc import Callable
from math import prod
from typing import TYPE_CHECKING, NamedTuple, TypeGuard, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evenflow.errors import ShardingError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

    from evenflow.init.layout import Box

Whole = TypeVar("Whole", Tensor, NDArray[np.bool_])


class Rows(NamedTuple):
    """Elements of a tensor as rows of one length, whose elements follow each other in the whole tensor.

    Attributes:
        starts: Logical index of the first element of each row in the whole tensor.
        length: Number of elements of a row.
    """

    starts: NDArray[np.int64]
    length: int

    def of(self, first: int, count: int) -> "tuple[int | NDArray[np.int64], tuple[int, ...]]":
        """Return the starts, and the shape, of `count` elements from element `first` on.

        Args:
            first: Counted along the rows, one after another.
            count: A part of one row, or whole rows.

        Examples:
            >>> rows = Rows(np.array([3, 13]), 5)
            >>> rows.of(6, 2), rows.of(0, 10)
            ((14, (2,)), (array([ 3, 13]), (2, 5)))
        """
        row, offset = divmod(first, self.length)
        if offset + count <= self.length:
            return int(self.starts[row]) + offset, (count,)
        rows = count // self.length
        return self.starts[row : row + rows], (rows, self.length)


def here(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor."""
    if not _is_sharded(tensor):
        return tensor
    with torch.no_grad():
        return tensor.to_local()


def own(tensor: Tensor) -> Tensor:
    """Return what this process holds of a tensor that is about to be written."""
    if _is_sharded(tensor) and not tensor.is_inference():
        # Autograd counts the writes to the whole and to the part apart.
        torch.autograd.graph.increment_version(tensor)
    return here(tensor)


def own_rows(tensor: Tensor) -> Rows:
    """Return where the elements lie that this process holds, of which there are some."""
    if not _is_sharded(tensor):
        return Rows(np.zeros(1, dtype=np.int64), tensor.numel())
    box, shape = _box(tensor), tensor.shape
    if not box:
        return Rows(np.zeros(1, dtype=np.int64), 1)
    cut = max((dim for dim, part in enumerate(box) if len(part) < shape[dim]), default=0)
    starts = np.zeros(1, dtype=np.int64)
    for dim in range(cut):
        starts = np.add.outer(starts, np.asarray(box[dim]) * prod(shape[dim + 1 :])).reshape(-1)
    inner = prod(shape[cut + 1 :])
    return Rows(starts + box[cut].start * inner, len(box[cut]) * inner)


def own_part(tensor: Tensor, whole: Whole) -> Whole:
    """Return what belongs to this process of a tensor or array that has the shape of the whole tensor."""
    if not _is_sharded(tensor):
        return whole
    return whole[tuple(slice(part.start, part.stop) for part in _box(tensor))]


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor with the elements that other processes hold too; of a sharded one, every process has to ask."""
    return tensor.full_tensor() if _is_sharded(tensor) else tensor


def own_row(tensor: Tensor, index: int) -> Tensor:
    """Return what this process holds of a row of the whole tensor, which may be nothing."""
    if not _is_sharded(tensor):
        return tensor[index]
    rows = _box(tensor)[0]
    return here(tensor)[rows.index(index)] if index in rows else here(tensor)[:0]


def put(tensor: Tensor, whole: Tensor) -> Tensor:
    """Copy what belongs to this process from a tensor of the same shape; return the first."""
    target = own(tensor)
    if target.numel():
        target.copy_(own_part(tensor, whole))
    return tensor


def by_whole(tensor: Tensor, write: Callable[[Tensor], object]) -> Tensor:
    """Write a tensor, or a whole one in its place of which this process takes its part; return the tensor."""
    if not _is_sharded(tensor):
        write(tensor)
        return tensor
    whole = torch.empty(tensor.shape, dtype=tensor.dtype, device=here(tensor).device)
    write(whole)
    return put(tensor, whole)


def require_placed(tensor: Tensor) -> None:
    """Refuse a sharded tensor that does not say which elements are here.

    Raises:
        ShardingError: It is a sum still to be made, its placements do not fit what is here, or it is a flat parameter.
    """
    if getattr(tensor, "_is_flat_param", False):
        raise ShardingError(
            "a FlatParameter of FullyShardedDataParallel holds several parameters in one; initialise the model before "
            "it is wrapped, or inside FullyShardedDataParallel.summon_full_params(model), or use fully_shard"
        )
    if _is_sharded(tensor):
        _box(tensor)


def _is_sharded(tensor: Tensor) -> "TypeGuard[DTensor]":
    # Who has a DTensor has imported this; nobody else is to wait for it.
    if "torch.distributed.tensor" not in sys.modules:
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def _box(tensor: "DTensor") -> "Box":
    from evenflow.init.layout import own_box

    mesh, shape = tensor.device_mesh, tuple(here(tensor).shape)
    place = mesh.get_coordinate()
    if place is None:  # this process is not in the mesh, and holds nothing
        return tuple(range(0) for _ in tensor.shape)
    box = own_box(tensor.shape, mesh.shape, place, tensor.placements)
    wanted = tuple(map(len, box))
    if wanted != shape:
        raise ShardingError(
            f"{list(tensor.placements)} of shape {tuple(tensor.shape)} on a mesh of shape {tuple(mesh.shape)} puts a "
            f"part of shape {wanted} at {tuple(place)}, but there is one of shape {shape}; make the tensor with "
            "distribute_tensor, parallelize_module or fully_shard"
        )
    return box
