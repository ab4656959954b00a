"""Surgery on a model with synchronised layers, in several processes and in one."""

import torch
from torch import nn

from evenflow.norm import accelerate_, convert_, recalibrate_

SIZES = {2: (3, 5), 3: (4, 2, 3), 4: (2, 4, 5, 3)}


def data(world):
    """Two batches, whole."""
    generator = torch.Generator().manual_seed(3)
    return [place + torch.randn(sum(SIZES[world]), 4, generator=generator).double() for place in range(2)]


def network():
    generator = torch.Generator().manual_seed(4)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3), nn.BatchNorm1d(3)).double()
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def operated(world, rank=None):
    """Outputs in training and running statistics after recalibration: of this process, or of one alone."""
    model = network()
    if rank is not None:
        convert_(model, to="sync")
    accelerate_(model)
    batches = data(world) if rank is None else [x.split(SIZES[world])[rank] for x in data(world)]
    output = model(batches[0]).detach()
    found = {"output": output}
    for in_turn in (False, True):
        recalibrate_(model, batches, in_turn=in_turn)
        found[in_turn] = [buffer.clone() for buffer in model.buffers()]
    return found
