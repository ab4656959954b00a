"""Synchronised normalisation: what one process does with a batch, and what several do with parts of it."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from evenflow.errors import EvenflowError
from evenflow.norm import BatchNorm1d, BatchNorm2d, SyncBatchNorm, whole_batch

# Samples in each process: uneven, a single one, and one without any.
SIZES = {2: (3, 5), 3: (4, 0, 1), 4: (2, 0, 5, 1)}
CHANNELS = 3

# Shape of a sample behind its channels, what the layer is told, and what the data is.
CASES = {
    "vectors": {},
    "sequences": {"space": (4,)},
    "images": {"space": (3, 2), "options": {"activation": "silu"}},
    "channels last": {"space": (3, 2), "channels_last": True},
    "residual": {"space": (4,), "options": {"activation": "relu"}, "residual": True},
    "cumulative": {"options": {"momentum": None}},
    "biased": {"options": {"running_variance": "biased"}},
    "accumulated": {"options": {"accumulate": 2}},
    "plain scale": {"options": {"affine": False}},
    "no statistics": {"options": {"track_running_stats": False}},
    "float32": {"dtype": torch.float32, "space": (4,)},
    "far from zero": {"dtype": torch.float32, "space": (4,), "mean": 1e6},
    "float64 statistics": {"dtype": torch.float32, "options": {"statistics_dtype": torch.float64}},
    "skipped": {"options": {"on_nonfinite": "skip"}, "bad": True},
    "propagated": {"bad": True},
}
STEPS = 3


def normal(*shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def data(case, world, step):
    """The whole batch of a step, its residual, and the weights of the loss."""
    shape = (sum(SIZES[world]), CHANNELS, *CASES[case].get("space", ()))
    x = normal(*shape, seed=step) * (step + 1) + CASES[case].get("mean", 0)
    if CASES[case].get("bad") and step == 1:
        x[0, 1] = torch.nan
    dtype = CASES[case].get("dtype", torch.float64)
    rest = normal(*shape, seed=step + 20).to(dtype) if CASES[case].get("residual") else None
    return x.to(dtype), rest, normal(*shape, seed=step + 10).to(dtype)


def part(tensor, world, rank):
    """The samples of one process."""
    return None if tensor is None else tensor.split(SIZES[world])[rank]


def seeded(layer, dtype):
    for seed, parameter in enumerate(layer.parameters()):
        parameter.data.copy_(normal(*parameter.shape, seed=seed + 50))
    return layer.to(dtype)


def train(case, layer, batches):
    """Run the steps and note everything that a process can see of them."""
    found = {"outputs": [], "gradients": [], "weights": [], "buffers": []}
    for x, rest, weights in batches:
        if CASES[case].get("channels_last"):
            x = x.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
        x = x.clone().requires_grad_()  # noqa: PLW2901
        layer.zero_grad()
        y = layer(x) if rest is None else layer(x, rest)
        (y * weights).sum().backward()
        found["outputs"].append(y.detach())
        found["gradients"].append(x.grad)
        found["weights"].append([p.grad.clone() for p in layer.parameters()])
        found["buffers"].append([b.clone() for b in layer.buffers()])
    return found


def layer_of(case, kind):
    layer = seeded(kind(CHANNELS, **CASES[case].get("options", {})), CASES[case].get("dtype", torch.float64))
    return layer.train()


def alone(case, world, *, exact=False):
    """One process and the whole batch; `exact` in float64, whatever the case is in."""
    layer = layer_of(case, BatchNorm2d if len(CASES[case].get("space", ())) == 2 else BatchNorm1d)
    batches = [data(case, world, step) for step in range(STEPS)]
    if exact:
        layer, batches = layer.double(), [[t if t is None else t.double() for t in batch] for batch in batches]
    return train(case, layer, batches)


def together(case, world, rank):
    batches = [[part(tensor, world, rank) for tensor in data(case, world, step)] for step in range(STEPS)]
    return train(case, layer_of(case, SyncBatchNorm), batches)


def model():
    """A small network with two synchronised layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), SyncBatchNorm(4), nn.Tanh(), nn.Linear(4, 2), SyncBatchNorm(2)).double()


def network(world, rank):
    """Gradients of a network by DDP, by checkpointing, by micro-batches, and a second derivative."""
    x = normal(sum(SIZES[world]), 3, seed=1)
    mine = part(x, world, rank)
    found = {}
    for name, run in {
        "plain": lambda m: m(mine),
        "checkpoint": lambda m: checkpoint(m, mine, use_reentrant=False),
        "micro": lambda m: torch.cat(whole_batch(m, mine.tensor_split(2))),
        "ddp": lambda m: m(mine),
    }.items():
        net = DistributedDataParallel(model()) if name == "ddp" else model()
        run(net).pow(3).sum().backward()
        found[name] = [p.grad for p in net.parameters()], list(net.buffers())
    leaf = mine.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model()(leaf).pow(3).sum(), leaf, create_graph=True)
    found["second"] = torch.autograd.grad(gradient.pow(2).sum(), leaf)[0]
    return found


def network_alone(world):
    x = normal(sum(SIZES[world]), 3, seed=1).requires_grad_()
    net = model()
    (gradient,) = torch.autograd.grad(model()(x).pow(3).sum(), x, create_graph=True)
    second = torch.autograd.grad(gradient.pow(2).sum(), x)[0]
    net(x.detach()).pow(3).sum().backward()
    return {"plain": ([p.grad for p in net.parameters()], list(net.buffers())), "second": second}


def lengths(world, rank):
    """Sequences whose length is another in each process, which no single tensor could hold."""
    x = normal(2, CHANNELS, 3 + rank, seed=rank)
    layer = SyncBatchNorm(CHANNELS).double()
    return x, layer(x).detach(), layer.running_var


def faults(world, rank):
    """Bad batches are refused by all processes, and the group goes on."""
    layer = SyncBatchNorm(2, on_nonfinite="raise").double()
    bad = torch.full((3, 2), torch.nan if rank == 0 else 1.0, dtype=torch.float64)
    single = torch.zeros(1 if rank == world - 1 else 0, 2, dtype=torch.float64)
    found = {}
    for name, x in {"bad": bad, "single": single, "empty": torch.zeros(0, 2, dtype=torch.float64)}.items():
        try:
            found[name] = layer(x).shape
        except EvenflowError as error:
            found[name] = type(error).__name__, str(error)
    found["state"] = [buffer.clone() for buffer in layer.buffers()]
    layer(normal(3, 2, seed=rank))
    found["after"] = int(layer.num_batches_tracked)
    if rank == 0:  # nobody else evaluates, so nothing may be exchanged
        found["eval"] = layer.eval()(normal(1, 2, seed=0)).shape
    return found


def groups(world, rank):
    """Each half of the processes synchronises by itself."""
    halves = [dist.new_group(ranks) for ranks in (range(world // 2), range(world // 2, world))]
    layer = SyncBatchNorm(2, process_group=halves[rank >= world // 2]).double()
    layer(normal(4, 2, seed=rank))
    return layer.running_mean


def normalised(world, rank):
    """Everything that the tests ask of a process."""
    found = {case: together(case, world, rank) for case in CASES}
    found |= {"network": network(world, rank), "lengths": lengths(world, rank), "faults": faults(world, rank)}
    return found | ({"groups": groups(world, rank)} if world == 4 else {})
