"""The meshes and placements that the tests use, by the number of processes."""

from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor.placement_types import _StridedShard

ROWS, COLUMNS, COPY = Shard(0), Shard(1), Replicate()
# What data parallelism over the first dimension of a 2 x 2 mesh makes of tensor parallelism over the second.
STRIDED = _StridedShard(0, split_factor=2)

# By number of processes and name: the shape of the mesh, and the placements.
LAYOUTS = {
    1: {"rows": ((1,), [ROWS]), "copy": ((1,), [COPY])},
    2: {"rows": ((2,), [ROWS]), "columns": ((2,), [COLUMNS]), "copies": ((2,), [COPY])},
    3: {"rows": ((3,), [ROWS]), "columns": ((3,), [COLUMNS])},
    4: {
        "rows": ((4,), [ROWS]),
        "columns": ((4,), [COLUMNS]),
        "rows-rows": ((2, 2), [ROWS, ROWS]),
        "rows-columns": ((2, 2), [ROWS, COLUMNS]),
        "columns-rows": ((2, 2), [COLUMNS, ROWS]),
        "copies-rows": ((2, 2), [COPY, ROWS]),
        "columns-copies": ((2, 2), [COLUMNS, COPY]),
        "strided-rows": ((2, 2), [STRIDED, ROWS]),
        "wide": ((1, 4), [ROWS, COLUMNS]),
        "tall": ((4, 1), [ROWS, COLUMNS]),
    },
}
