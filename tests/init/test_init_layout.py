"""Which elements a process holds, against torch's own way to split a tensor, with no process started."""

from itertools import product
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

from evenflow.errors import ShardingError
from evenflow.init.layout import own_box

sizes = st.lists(st.integers(0, 13), min_size=1, max_size=3)
placements = st.lists(st.sampled_from([Replicate(), Shard(0), Shard(-1)]), min_size=1, max_size=3)


def torch_part(index, mesh, place, placements):
    """Split as torch does: from left to right, by `torch.chunk`, where what is missing at the end is empty."""
    for parts, here, placement in zip(mesh, place, placements, strict=True):
        if isinstance(placement, Shard):
            chunks = index.chunk(parts, placement.dim)
            index = chunks[here] if here < len(chunks) else index.narrow(placement.dim, 0, 0)
    return index


def part(index, box):
    return index[tuple(slice(r.start, r.stop) for r in box)]


@given(shape=sizes, kinds=placements, data=st.data())
def test_any_shards_are_torchs(shape, kinds, data):
    kinds = [Shard(kind.dim % len(shape)) if isinstance(kind, Shard) else kind for kind in kinds]
    mesh = data.draw(st.lists(st.integers(1, 4), min_size=len(kinds), max_size=len(kinds)))
    index = torch.arange(prod(shape)).reshape(shape)
    for place in product(*map(range, mesh)):
        assert torch.equal(part(index, own_box(shape, mesh, place, kinds)), torch_part(index, mesh, place, kinds))


@given(rows=st.integers(0, 40), data_parallel=st.integers(1, 4), tensor_parallel=st.integers(1, 4))
def test_a_strided_shard_was_cut_last(rows, data_parallel, tensor_parallel):
    index = torch.arange(rows)
    kinds = [_StridedShard(0, split_factor=tensor_parallel), Shard(0)]
    mesh = (data_parallel, tensor_parallel)
    for outer, inner in product(*map(range, mesh)):
        expected = torch_part(index, mesh[::-1], (inner, outer), [Shard(0), Shard(0)])
        assert torch.equal(part(index, own_box((rows,), mesh, (outer, inner), kinds)), expected)


@given(pieces=st.integers(1, 4), mesh=st.tuples(st.integers(1, 3), st.integers(1, 3)), length=st.integers(1, 3))
def test_a_strided_shard_is_torchs_where_all_parts_are_equal(pieces, mesh, length):
    mesh = (*mesh, pieces)
    rows = prod(mesh) * length
    # Split by the third dimension of the mesh, then by the second, as one split by the second in strides.
    kinds = [Shard(0), _StridedShard(0, split_factor=pieces), Shard(0)]
    index = np.arange(rows).reshape(mesh[0], pieces, mesh[1], length)
    for first, second, third in product(*map(range, mesh)):
        box = own_box((rows,), mesh, (first, second, third), kinds)
        assert list(box[0]) == index[first, third, second].tolist()


def test_rows_of_22_on_4_times_4_are_those_that_full_sharding_makes():
    # From left to right, by the definition of the placements alone, the last would be at (3, 0), where it is not.
    kinds = [_StridedShard(0, split_factor=4), Shard(0)]
    held = {place: own_box((22,), (4, 4), place, kinds)[0] for place in product(range(4), range(4))}
    assert held[3, 3] == range(21, 22)
    assert sorted(row for rows in held.values() for row in rows) == list(range(22))


@pytest.mark.parametrize(
    "kinds",
    [[_StridedShard(0, split_factor=3), Shard(0)], [_StridedShard(0, split_factor=2), Shard(1)]],
    ids=["another number", "another dimension"],
)
def test_strides_that_no_other_shard_explains_are_refused(kinds):
    with pytest.raises(ShardingError, match=r"cuts . pieces of dimension 0, but .* redistribute"):
        own_box((12, 4), (2, 2), (0, 0), kinds)


def test_a_sum_is_refused():
    with pytest.raises(ShardingError, match=r"only parts of a sum; initialise it as Replicate\(\)"):
        own_box((4,), (2,), (0,), [Partial()])
