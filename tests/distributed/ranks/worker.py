"""What a rank does. Called by `launch.py` with the rank, the number of ranks, and the folder that they share."""

import sys
from contextlib import contextmanager
from datetime import timedelta
from hashlib import sha256
from math import prod

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

from evenflow.random import stream
from ranks.clipping import clipped
from ranks.layouts import LAYOUTS
from ranks.models import wrapped
from ranks.norms import normalised
from ranks.rules import DTYPES, LARGE, RULES, shape_of, write
from ranks.surgery import operated


@contextmanager
def counted():
    """Count the elements that are asked of streams."""
    asked, draw = [], stream.draw

    def counting(key, transform, parameters, shape, *rest):
        asked.append(prod(shape))
        return draw(key, transform, parameters, shape, *rest)

    stream.draw = counting
    try:
        yield asked
    finally:
        stream.draw = draw


def case(rule, mesh, placements, dtype=torch.float32):
    """Initialise one sharded tensor; return it gathered, with what was drawn and what is held here."""
    blank = torch.full(shape_of(rule), 7, dtype=dtype)
    tensor = distribute_tensor(blank, mesh, placements, src_data_rank=None)
    with counted() as asked:
        write(rule, tensor)
    return {"whole": tensor.full_tensor(), "asked": sum(asked), "held": tensor.to_local().numel()}


def small(world):
    """Every rule on every layout, and every dtype on one rule."""
    found = {}
    for layout, (sizes, placements) in LAYOUTS[world].items():
        mesh = init_device_mesh("cpu", sizes)
        found |= {(layout, rule): case(rule, mesh, placements) for rule in RULES}
        found |= {(layout, dtype): case("normal", mesh, placements, kind) for dtype, kind in DTYPES.items()}
    return found


def large(world):
    """Tensors that compiled kernels and several threads draw; of the result, the digest."""
    found = {}
    for layout in ("rows", "columns"):
        sizes, placements = LAYOUTS[world][layout]
        mesh = init_device_mesh("cpu", sizes)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for rule in LARGE:
                whole = case(rule, mesh, placements)["whole"]
                found[layout, rule, threads] = sha256(whole.numpy().tobytes()).hexdigest()
    return found


def main(rank, world, home):
    """Join the group, do everything, and write down what it returned."""
    store = dist.FileStore(f"{home}/store", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=60))
    try:
        found = {"small": small(world), "large": large(world) if world == 2 else {}} | wrapped(world)
        found |= {"norm": normalised(world, rank), "surgery": operated(world, rank)} if world > 1 else {}
        found |= clipped(world)
        torch.save(found, f"{home}/{rank}.pt")
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
