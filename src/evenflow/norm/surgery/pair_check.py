"""Compare one fused pair with torch's own functions, on random data."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.errors import TreatmentError
from evenflow.norm.activations import activate
from evenflow.norm.surgery.trial import Trial, deviation
from evenflow.probe.preserve import preserved

_SHAPES = {"BatchNorm1d": (16,), "BatchNorm2d": (4, 3, 3), "BatchNorm3d": (4, 2, 2, 2), "SyncBatchNorm": (16,)}


def check_pair(layer: _BatchNorm, activation: str, *, residual: bool) -> bool:
    """Compare outputs and gradients of the fused call with those of the single steps in float64, in both modes.

    Args:
        layer: One of evenflow's. It is left as it was.
        activation: Name of the activation.
        residual: Whether something is added before it.

    Returns:
        Whether it could be compared: a layer on the meta device has no values.

    Raises:
        TreatmentError: They differ by more than the square root of the precision.
    """
    if any(t.is_meta for t in (*layer.parameters(), *layer.buffers())):
        return False
    x, added = _data(layer), _data(layer, shift=1) if residual else None
    allowed = math.sqrt(torch.finfo(x.dtype).eps)
    for training in (True, False):
        with preserved(layer):
            layer.train(training)
            with torch.inference_mode(False), torch.enable_grad():
                expected = _trial(_steps(layer, x, added, activation), layer, x, added)
                found = _trial(layer(x, added, activation=activation), layer, x, added)
        for name, apart in deviation(expected, found):
            if apart > allowed:
                raise TreatmentError(
                    f"BatchNorm and {activation} in one call do not give what they give one by one: {name} is off by "
                    f"{apart:.1e} of its size; the model was left as it was"
                )
    return True


def _data(layer: _BatchNorm, shift: int = 0) -> Tensor:
    space = _SHAPES[type(layer).__name__]
    held: Tensor | None = layer.weight if layer.weight is not None else layer.running_mean
    device, dtype = (torch.device("cpu"), torch.float32) if held is None else (held.device, held.dtype)
    size = (space[0], layer.num_features, *space[1:])
    drawn = torch.randn(size, generator=torch.Generator().manual_seed(shift), dtype=torch.float32)
    return drawn.to(device, dtype).requires_grad_()


def _steps(layer: _BatchNorm, x: Tensor, residual: Tensor | None, activation: str) -> Tensor:
    """What torch's functions compute, in float64."""
    mean, variance = layer.running_mean, layer.running_var
    of_batch = (layer.training and not layer.frozen) or mean is None or variance is None
    if of_batch:
        mean = variance = None
    vectors = [None if t is None else t.double() for t in (mean, variance, layer.weight, layer.bias)]
    output = F.batch_norm(x.double(), vectors[0], vectors[1], vectors[2], vectors[3], of_batch, 0.0, layer.eps)
    return activate(activation, output if residual is None else output + residual.double())


def _trial(output: Tensor, layer: _BatchNorm, x: Tensor, residual: Tensor | None) -> Trial:
    inputs = {"the input": x, "the residual": residual, "the weight": layer.weight, "the bias": layer.bias}
    wanted = {name: t for name, t in inputs.items() if t is not None and t.requires_grad}
    direction = torch.cos(torch.arange(output.numel(), device=output.device) * 1.7).reshape(output.shape)
    gradients = torch.autograd.grad(output, list(wanted.values()), direction.to(output.dtype))
    named = {f"the gradient of {name}": g for name, g in zip(wanted, gradients, strict=True)}
    return Trial({"the output": output.detach(), **named})
