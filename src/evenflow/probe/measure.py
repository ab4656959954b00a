"""Measure a network: one forward and one backward pass, and the model as it was before."""

from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from evenflow.errors import LossError, ModelError
from evenflow.probe.batch import is_signal, main_tensor, parse_batch
from evenflow.probe.forward import forward, undisturbed
from evenflow.probe.guard import told_as
from evenflow.probe.loss import LossFunction, loss_of
from evenflow.probe.moments import moments, size
from evenflow.probe.parameters import parameter_record
from evenflow.probe.records import InputRecord, LayerRecord, NetworkRecord, ParameterRecord
from evenflow.probe.trace import Tracer
from evenflow.probe.usable import require_usable, unwrapped


def measure(model: nn.Module, batch: object, loss_fn: LossFunction | None = None) -> NetworkRecord:
    """Run the model forward and backward on one batch and record what its signals do.

    A model in evaluation mode is measured in training mode, since that is where it would train. Dropout is left out.
    Parameters, buffers, modes, gradients and random states are afterwards what they were, also when this raises.

    Args:
        model: An eager module; compiled and data-parallel wrappers are looked through.
        batch: `(inputs, targets)`, a tensor, or a dict of keyword inputs; see `evenflow.check`.
        loss_fn: Called as `loss_fn(output, targets)`; guessed when None.

    Raises:
        ParameterTypeError: `model` is no module.
        NoParametersError: It has no parameter that requires a gradient.
        BatchError: The batch has an unknown form or is empty.
        ModelError: The model raises, or returns nothing to differentiate.
        LossError: No loss can be guessed, or the given function is unusable.
    """
    model = unwrapped(model)
    parsed = parse_batch(batch)
    require_usable(model)
    with undisturbed(model), torch.enable_grad():
        was_training = model.training
        broken = [name for name, buffer in model.named_buffers() if is_signal(buffer) and size(buffer)[2]]
        tracer = Tracer(model)
        output = forward(model, parsed, tracer)
        loss, loss_record = loss_of(output, parsed, loss_fn)
        gradients = _backward(model, loss)
        records = {name: parameter_record(name, p, gradients.get(name)) for name, p in model.named_parameters()}
        main = main_tensor(output)
        return NetworkRecord(
            model=type(model).__name__,
            samples=parsed.samples,
            inputs=tuple(_input(name, t) for name, t in parsed.named_tensors() if is_signal(t)),
            layers=tuple(_layers(tracer, records)),
            output=moments(main if main is not None else torch.zeros(0), histogram=True),
            loss=loss_record,
            unused=_unused(tracer, records, gradients),
            frozen=tuple(name for name, record in records.items() if not record.trainable),
            nonfinite_parameters=(*(name for name, record in records.items() if record.nonfinite), *broken),
            was_training=was_training,
        )


def _backward(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Gradients of the trainable parameters, by name, without touching `.grad` or the hooks that wait for it."""
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    found: tuple[Tensor | None, ...] = ()
    if loss.requires_grad:
        with told_as(ModelError, lambda error: f"the backward pass raised {error}"):
            found = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    gradients = {name: gradient for name, gradient in zip(trainable, found, strict=False) if gradient is not None}
    if not gradients:
        raise LossError(
            "the loss does not depend on any trainable parameter: is the model run under no_grad, or its output "
            "detached?"
        )
    return gradients


def _layers(tracer: Tracer, parameters: dict[str, ParameterRecord]) -> Iterator[LayerRecord]:
    seen: Counter[str] = Counter()
    for call in tracer.calls:
        yield call.record(seen[call.name], call.index in tracer.flow.bypassed, parameters)
        seen[call.name] += 1


def _unused(tracer: Tracer, parameters: dict[str, ParameterRecord], gradients: dict[str, Tensor]) -> tuple[str, ...]:
    """Modules with trainable parameters that neither a layer nor the loss depended on, each once."""
    used = {name for call in tracer.calls for name in call.parameters} | set(gradients)
    left = [name for name, record in parameters.items() if record.trainable and name not in used]
    return tuple(dict.fromkeys(name.rpartition(".")[0] or name for name in left))


def _input(name: str, tensor: Tensor) -> InputRecord:
    median = high = None
    if tensor.dim() == 2 and tensor.shape[0] > 1 and not tensor.is_complex():
        spread = tensor.detach().double().std(dim=0, correction=0)
        alive = spread[torch.isfinite(spread) & (spread > 0)]
        if alive.numel():
            median, high = float(alive.median()), float(alive.max())
    return InputRecord(name, moments(tensor, histogram=True), median, high)
