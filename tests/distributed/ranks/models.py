"""Models spread over processes in every way that torch has, initialised, and gathered again."""

import warnings

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Partial, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
from torch.nn.parallel import DistributedDataParallel

from evenflow import init, initialize_
from evenflow.errors import EvenflowError
from evenflow.random import Stream

EVEN, UNEVEN = (8, 12, 4), (5, 7, 3)
INPUTS = 6


def build(sizes):
    first, second, last = sizes
    return nn.Sequential(nn.Linear(first, second), nn.ReLU(), nn.Linear(second, last), nn.LayerNorm(last))


def initialized(model, prefix=""):
    """Draw every parameter from the stream of its name."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            stream = Stream(0, name.removeprefix(prefix))
            rule = init.he_normal_ if parameter.dim() > 1 else init.uniform_
            rule(parameter, stream=stream)
    return model


class Recurrent(nn.Module):
    """A model whose plan has rows of zeros and segments of a bias."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4, padding_idx=4)
        self.recurrent = nn.LSTM(4, 3, batch_first=True)
        self.head = nn.Linear(3, 5)

    def forward(self, tokens):
        return self.head(self.recurrent(self.embedding(tokens))[0])


def saturating():
    """A model whose plan has biases that balance the mean of a sigmoid."""
    return nn.Sequential(nn.Linear(4, 7), nn.Sigmoid(), nn.Linear(7, 5), nn.Sigmoid(), nn.Linear(5, 3))


PLANNED = {"recurrent": Recurrent, "saturating": saturating}


def outputs(model, sizes):
    with torch.no_grad():
        return model(torch.linspace(-1, 1, INPUTS * sizes[0]).reshape(INPUTS, sizes[0]))


def gathered(model, prefix=""):
    """Return the whole parameters by name."""
    whole = {}
    for name, parameter in model.named_parameters():
        value = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        whole[name.removeprefix(prefix)] = value.detach().clone()
    return whole


def _tensor_parallel(model, mesh):
    return parallelize_module(model, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})


def _fully_sharded(model, mesh):
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def _on_meta(sizes, shard):
    with torch.device("meta"):
        model = build(sizes)
    model = shard(model)
    refusals = [_refusal(init.normal_, parameter) for parameter in model.parameters()]
    assert all("to_empty" in refusal for refusal in refusals), refusals
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            init.constant_(parameter, 7.0)
    return model


def _refusal(write, *arguments):
    try:
        write(*arguments)
    except EvenflowError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was refused"


def _sharded_models(sizes, world):
    """Yield the names of the ways to shard, and models that are."""
    line = init_device_mesh("cpu", (world,))
    yield "fsdp", _fully_sharded(build(sizes), line)
    yield "fsdp-from-meta", _on_meta(sizes, lambda model: _fully_sharded(model, line))
    yield "tp", _tensor_parallel(build(sizes), line)
    if world == 4:
        square = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
        yield "hsdp", _fully_sharded(build(sizes), square)
        yield "fsdp-tp", _fully_sharded(_tensor_parallel(build(sizes), square["tp"]), square["dp"])
        yield (
            "fsdp-tp-from-meta",
            _on_meta(sizes, lambda model: _fully_sharded(_tensor_parallel(model, square["tp"]), square["dp"])),
        )


def _by_default_generator(world):
    """Initialise by seeds alone: empty parts take their keys too, or the parameters after them would differ."""
    model = _fully_sharded(build((5, 2, 7)), init_device_mesh("cpu", (world,)))
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            init.normal_(parameter)
    return gathered(model)


def _planned(world):
    """Plan models, and carry the plans out where the models are sharded."""
    found = {}
    for name, build_model in PLANNED.items():
        model = fully_shard(build_model(), mesh=init_device_mesh("cpu", (world,)))
        planned = initialize_(model, seed=5)
        found[name] = len(planned.audit.written), {row.rule for row in planned.rows}, gathered(model)
    return found


def _flat(world):
    """Initialise a model in the older wrapper, where it refuses and where it does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said to be deprecated
        model = FullyShardedDataParallel(build(UNEVEN), device_id=torch.device("cpu"))
        refusal = _refusal(init.normal_, next(model.parameters()))
        with FullyShardedDataParallel.summon_full_params(model):
            initialized(model, "_fsdp_wrapped_module.")
        with FullyShardedDataParallel.summon_full_params(model):
            return refusal, gathered(model, "_fsdp_wrapped_module.")


def _refusals(world):
    mesh = init_device_mesh("cpu", (world,))
    rank = mesh.get_local_rank()
    partial = DTensor.from_local(torch.ones(2, 3), mesh, [Partial()])
    # Not the rows that torch would give to each process.
    rows = 2 * world + 2
    heap = DTensor.from_local(
        torch.ones(rows - 1 if rank == 0 else 0, 3), mesh, [Shard(0)], shape=torch.Size((rows, 3)), stride=(3, 1)
    )
    meta = DTensor.from_local(torch.empty(2, 3, device="meta"), mesh, [Shard(0)])
    overlapping = DTensor.from_local(torch.ones(1, 3).expand(2, 3), mesh, [Shard(0)])
    return {
        f"{name} {rule.__name__}": _refusal(rule, tensor)
        for name, tensor in {"partial": partial, "heap": heap, "meta": meta, "overlapping": overlapping}.items()
        for rule in (init.normal_, init.zeros_, init.orthogonal_, init.eye_, init.he_uniform_)
    }


def _versions(world):
    """Tell how often autograd thinks that sharded tensors were written, after one write each."""
    mesh = init_device_mesh("cpu", (world,))
    found = {}
    for rule in (init.normal_, init.zeros_, init.orthogonal_, init.eye_):
        tensor = DTensor.from_local(torch.ones(2, 3), mesh, [Shard(0)])
        before = tensor._version
        rule(tensor)
        found[rule.__name__] = tensor._version - before
    return found


def wrapped(world):
    """Initialise models in every wrapper; return their whole parameters, and what they compute."""
    found = {}
    for size, sizes in (("even", EVEN), ("uneven", UNEVEN)):
        for way, model in _sharded_models(sizes, world):
            initialized(model)
            values = gathered(model)
            found[way, size] = values, outputs(model, sizes) if size == "even" or "tp" not in way else None
        replicas = initialized(DistributedDataParallel(build(sizes)), "module.")
        found["ddp", size] = gathered(replicas, "module."), outputs(replicas, sizes)
    return {
        "models": found,
        "seeds": _by_default_generator(world),
        "planned": _planned(world),
        "flat": _flat(world),
        "refusals": _refusals(world),
        "versions": _versions(world),
    }
