"""Which part of a tensor a process holds, from numbers alone."""

from collections.abc import Sequence

from torch.distributed.tensor.placement_types import Placement, Replicate, Shard, _StridedShard

from evenflow.errors import ShardingError

Box = tuple[range, ...]


def own_box(shape: Sequence[int], mesh: Sequence[int], place: Sequence[int], placements: Sequence[Placement]) -> Box:
    """Return the indices that a process holds, a range for each dimension of the tensor.

    Args:
        shape: Shape of the whole tensor.
        mesh: Shape of the mesh of processes.
        place: Coordinates of the process in the mesh.
        placements: How each dimension of the mesh divides the tensor.

    Raises:
        ShardingError: A placement does not divide the tensor into ranges.

    Examples:
        >>> own_box((7, 4), (3,), (1,), (Shard(0),))
        (range(3, 6), range(0, 4))
        >>> own_box((8, 4), (2, 2), (0, 1), (_StridedShard(0, split_factor=2), Shard(0)))
        (range(4, 6), range(0, 4))
    """
    box = [range(size) for size in shape]
    for axis, dim in _order(mesh, placements):
        size = -(-len(box[dim]) // mesh[axis])
        box[dim] = box[dim][place[axis] * size :][:size]
    return tuple(box)


def _order(mesh: Sequence[int], placements: Sequence[Placement]) -> list[tuple[int, int]]:
    """Return (dimension of the mesh, dimension of the tensor) in the order in which the tensor was cut.

    That is from left to right, but a strided shard, which data parallelism makes of a tensor-parallel one, was cut
    after those to its right.
    """
    order: list[tuple[int, int]] = []
    for axis in reversed(range(len(placements))):
        placement = placements[axis]
        if isinstance(placement, _StridedShard):
            _require_nested(placement, mesh, placements, order)
            order.append((axis, placement.dim))
        elif isinstance(placement, Shard):
            order.insert(0, (axis, placement.dim))
        elif not isinstance(placement, Replicate):
            raise ShardingError(
                f"a tensor with the placement {placement} has no elements of its own, only parts of a sum; initialise "
                "it as Replicate() or Shard(dim), with tensor.redistribute(...)"
            )
    return order


def _require_nested(
    placement: _StridedShard, mesh: Sequence[int], placements: Sequence[Placement], order: list[tuple[int, int]]
) -> None:
    pieces = 1
    for axis, dim in order:
        pieces *= mesh[axis] if dim == placement.dim else 1
    if placement.split_factor != pieces:
        raise ShardingError(
            f"{placement} cuts {placement.split_factor} pieces of dimension {placement.dim}, but the placements to its "
            f"right, of {list(placements)}, make {pieces}; redistribute the tensor to Shard(dim) first"
        )
