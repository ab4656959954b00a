"""Gradients spread over processes in every way that torch has, clipped, and gathered again."""

import warnings

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from evenflow import clip, init
from evenflow.init.sharded import put
from evenflow.random import Stream
from ranks.models import EVEN, INPUTS, UNEVEN, _fully_sharded, _refusal, _sharded_models, build, initialized

SIZES = {"even": EVEN, "uneven": UNEVEN}
INF = float("inf")


def with_gradients(model, *, bad=False):
    """Give every parameter the gradient of its name, spread as the parameter is."""
    for name, parameter in model.named_parameters():
        parameter.grad = torch.zeros_like(parameter.detach())
        init.normal_(parameter.grad, stream=Stream(1, name))
    if bad:
        whole = whole_of(model.get_parameter("2.weight").grad)
        whole[-1, -1], whole[0, 0] = float("nan"), INF
        put(model.get_parameter("2.weight").grad, whole)
    return model


def whole_of(tensor):
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()


def gradients(model):
    return {name: whole_of(parameter.grad) for name, parameter in model.named_parameters()}


def by_norm(order):
    return lambda model: float(clip.clip_grad_norm_(model, 0.7, order))


def by_value(model):
    clip.clip_grad_value_(model, 0.3)
    return 0.0


def by_unit(model):
    return float(clip.adaptive_clip_grad_(model, 0.05, exclude=["3"]))


def by_layer(model):
    return clip.NormClipper(model, 0.7, per="layer").step().to_dict()


def units_reported(model):
    return clip.AdaptiveClipper(model, 0.05, exclude=["3"]).step().to_dict()


def zeroed(model):
    return float(clip.clip_grad_norm_(with_gradients(model, bad=True), 0.7, nonfinite="zero"))


def named(model):
    text = _refusal(lambda: clip.clip_grad_norm_(with_gradients(model, bad=True), 0.7, nonfinite="raise"))
    with_gradients(model)
    return text


CASES = {
    "two": by_norm(2.0),
    "one": by_norm(1.0),
    "peak": by_norm(INF),
    "three": by_norm(3.0),
    "value": by_value,
    "unit": by_unit,
    "layer": by_layer,
    "units reported": units_reported,
    "zero": zeroed,
    "named": named,
}


def every_case(model):
    return {name: (case(with_gradients(model)), gradients(model)) for name, case in CASES.items()}


def trained(model, optimizer):
    """Some steps of training, the inputs of which one is far too large."""
    clipper = clip.NormClipper(model, 0.5)
    clipper.attach(optimizer)
    width = 8
    for step in range(4):
        optimizer.zero_grad()
        inputs = torch.linspace(-1, 1, INPUTS * width).reshape(INPUTS, width) * (50.0 if step == 2 else 1.0)
        model(inputs).square().sum().backward()
        optimizer.step()
    return [(report.norm, report.fired) for report in clipper.history]


def trained_alone():
    model = initialized(build(EVEN))
    decisions = trained(model, torch.optim.SGD(model.parameters(), 0.1))
    return decisions, {name: parameter.detach() for name, parameter in model.named_parameters()}


def _trained_sharded(world):
    found = {}
    mesh = init_device_mesh("cpu", (world,))
    sharded = initialized(_fully_sharded(build(EVEN), mesh))
    decisions = trained(sharded, torch.optim.SGD(sharded.parameters(), 0.1))
    found["fsdp"] = decisions, {name: whole_of(p.detach()) for name, p in sharded.named_parameters()}
    inner = initialized(build(EVEN))
    copied = DistributedDataParallel(inner)
    decisions = trained(copied, torch.optim.SGD(copied.parameters(), 0.1))
    found["ddp"] = decisions, {name: p.detach().clone() for name, p in inner.named_parameters()}
    return found


def mixed_tensors():
    """What one process has, where several have it on two meshes, or whole."""
    shapes = {"line": (5, 3), "square": (7, 6), "whole": (4,), "copies": (3, 2)}
    return {name: torch.from_numpy(Stream(2, name).normal(shape).copy()) for name, shape in shapes.items()}


def _mixed(world):
    """Tensors on two meshes and on none, of which torch takes the norm of none together."""
    line = init_device_mesh("cpu", (world,))
    square = init_device_mesh("cpu", (2, world // 2))
    tensors = mixed_tensors()
    places = {"line": (line, [Shard(0)]), "square": (square, [Shard(1), Shard(0)]), "copies": (line, [Replicate()])}
    spread = [
        distribute_tensor(tensor, *places[name], src_data_rank=None) if name in places else tensor
        for name, tensor in tensors.items()
    ]
    return [float(clip.get_total_norm(spread, order)) for order in (2.0, 1.0, INF)]


def transposed():
    """A layer whose units lie along the second dimension, which is not the one that is sharded."""
    torch.manual_seed(0)
    return nn.Sequential(nn.ConvTranspose1d(5, 3, 2), nn.Linear(3, 2))


def transposed_clipped(model):
    for name, parameter in model.named_parameters():
        parameter.grad = torch.zeros_like(parameter.detach())
        init.normal_(parameter.grad, stream=Stream(3, name))
    norm = float(clip.adaptive_clip_grad_(model, 0.05))
    return norm, gradients(model)


def _groups_refused(world):
    model = fully_shard(nn.Sequential(nn.ConvTranspose1d(4, 4, 2, groups=2)), mesh=init_device_mesh("cpu", (world,)))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter.detach())
    return _refusal(lambda: clip.adaptive_clip_grad_(model, 0.05))


def _flat_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is said to be deprecated
        model = FullyShardedDataParallel(build(UNEVEN), device_id=torch.device("cpu"))
    calls = [
        lambda: clip.clip_grad_norm_(model, 1.0),
        lambda: clip.clip_grad_norm_(model.parameters(), 1.0),
        lambda: clip.NormClipper(model, 1.0),
        lambda: clip.NormClipper(list(model.parameters()), 1.0),
    ]
    return [_refusal(call) for call in calls]


def clipped(world):
    """Everything, on every rank."""
    cases = {}
    for size, sizes in SIZES.items():
        for way, model in _sharded_models(sizes, world):
            cases[way, size] = every_case(initialized(model))
    conv = fully_shard(transposed(), mesh=init_device_mesh("cpu", (world,)))
    return {
        "clipping": {
            "cases": cases,
            "trained": _trained_sharded(world),
            "mixed": _mixed(world) if world in {2, 4} else None,
            "transposed": transposed_clipped(conv),
            "groups": _groups_refused(world),
            "flat": _flat_refused(),
        }
    }
