"""Measure a network: one forward and one backward pass, and the model as it was before."""

import math
from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from evenflow.errors import LossError, ModelError, NoParametersError, ParameterTypeError
from evenflow.probe.batch import Batch, is_signal, main_tensor, parse_batch
from evenflow.probe.guard import told_as
from evenflow.probe.loss import LossFunction, loss_of
from evenflow.probe.moments import moments
from evenflow.probe.parameters import parameter_record
from evenflow.probe.preserve import preserved
from evenflow.probe.records import InputRecord, LayerRecord, LossRecord, NetworkRecord, ParameterRecord
from evenflow.probe.trace import LayerCall, Tracer


def measure(model: nn.Module, batch: object, loss_fn: LossFunction | None = None) -> NetworkRecord:
    """Run the model forward and backward on one batch and record what its signals do.

    A model in evaluation mode is measured in training mode, since that is where it would train. Parameters, buffers,
    modes, gradients and random states are afterwards what they were, also when this raises.

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
    _require_parameters(model)
    with preserved(model), torch.inference_mode(False), torch.enable_grad():
        was_training = model.training
        if not was_training:
            model.train()
        output, tracer = _forward(model, parsed)
        loss, loss_record = loss_of(output, parsed, loss_fn)
        gradients = _backward(model, loss)
        return _record(model, parsed, output, tracer, loss_record, gradients, was_training)


def unwrapped(model: object) -> nn.Module:
    """The module inside `torch.compile` and data-parallel wrappers.

    Raises:
        ParameterTypeError: It is no module at all.
    """
    if isinstance(model, type) and issubclass(model, nn.Module):
        raise ParameterTypeError(f"model must be an instance; got the class {model.__name__}: call it first")
    if not isinstance(model, nn.Module):
        raise ParameterTypeError(f"model must be a torch.nn.Module; got {type(model).__name__}")
    inner = getattr(model, "_orig_mod", None)
    if isinstance(inner, nn.Module):
        return unwrapped(inner)
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return unwrapped(model.module)
    return model


def _require_parameters(model: nn.Module) -> None:
    parameters = list(model.parameters())
    kind = type(model).__name__
    if not parameters:
        raise NoParametersError(f"{kind} has no parameters, so there is nothing to train; pass the network itself")
    meta = [name for name, p in model.named_parameters() if p.is_meta]
    if meta:
        raise ModelError(
            f"{kind} lies on the meta device ({meta[0]} has no values); materialise it first: "
            "model.to_empty(device='cpu') and initialise it"
        )
    if isinstance(model, torch.jit.ScriptModule):
        raise ModelError(f"{kind} is a TorchScript module, whose inside cannot be seen; pass the eager module")
    if not any(p.requires_grad for p in parameters):
        raise NoParametersError(
            f"every parameter of {kind} is frozen (requires_grad=False), so no gradient flows; unfreeze some, for "
            "example with model.requires_grad_()"
        )


def _forward(model: nn.Module, batch: Batch) -> tuple[Any, Tracer]:
    tracer = Tracer(model)

    def message(error: str) -> str:
        return (
            f"the model raised {error} (in {tracer.place}, on inputs {batch.describe()}); does the batch fit the model?"
        )

    with ExitStack() as stack:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(told_as(ModelError, message))
        stack.enter_context(tracer)
        output = batch.run(model)
    if not tracer.calls:
        raise ModelError(
            f"no layer of {type(model).__name__} used its parameters in the forward pass, so there is nothing to "
            "measure"
        )
    return output, tracer


def _backward(model: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    """Gradients of the trainable parameters, by name, without touching `.grad` or the hooks that wait for it."""
    if not loss.requires_grad:
        raise LossError(
            "the loss does not depend on any trainable parameter: is the model run under no_grad, or its output "
            "detached?"
        )
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    with told_as(ModelError, lambda error: f"the backward pass raised {error}"):
        found = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(trainable, found, strict=True) if gradient is not None}


def _record(
    model: nn.Module,
    batch: Batch,
    output: Any,
    tracer: Tracer,
    loss: LossRecord,
    gradients: dict[str, Tensor],
    was_training: bool,
) -> NetworkRecord:
    records = {name: parameter_record(name, p, gradients.get(name)) for name, p in model.named_parameters()}
    tensors = [*model.named_parameters(), *model.named_buffers()]
    main = main_tensor(output)
    used = {name for call in tracer.calls for name in call.parameters} | set(gradients)
    return NetworkRecord(
        model=type(model).__name__,
        samples=batch.samples,
        inputs=tuple(_input(name, t) for name, t in batch.named_tensors() if is_signal(t)),
        layers=_layers(tracer.calls, records),
        output=moments(main if main is not None else torch.zeros(0), histogram=True),
        loss=loss,
        unused=tuple(
            dict.fromkeys(n.rpartition(".")[0] or n for n, p in records.items() if n not in used and p.trainable)
        ),
        frozen=tuple(name for name, p in records.items() if not p.trainable),
        nonfinite_parameters=tuple(n for n, t in tensors if is_signal(t) and not bool(torch.isfinite(t).all())),
        was_training=was_training,
    )


def _layers(calls: list[LayerCall], parameters: dict[str, ParameterRecord]) -> tuple[LayerRecord, ...]:
    seen: Counter[str] = Counter()
    layers = []
    for call in calls:
        layers.append(
            LayerRecord(
                index=call.index,
                name=call.name,
                kind=call.kind,
                role=call.role,
                call=seen[call.name],
                fans=call.fans,
                sources=call.sources,
                bypassed=call.bypassed,
                normalised=call.normalised,
                input=call.input,
                output=call.output,
                gradient=call.gradient,
                activation=call.activation,
                parameters=tuple(parameters[name] for name in call.parameters),
            )
        )
        seen[call.name] += 1
    return tuple(layers)


def _input(name: str, tensor: Tensor) -> InputRecord:
    median = high = None
    if tensor.dim() == 2 and tensor.shape[0] > 1 and not tensor.is_complex():
        spread = tensor.detach().double().std(dim=0, correction=0)
        alive = spread[torch.isfinite(spread) & (spread > 0)]
        if alive.numel():
            median, high = float(alive.median()), float(alive.max())
    return InputRecord(name, moments(tensor, histogram=True), median, high)


def finite(*values: float | None) -> bool:
    """Whether all values are there and finite."""
    return all(value is not None and math.isfinite(value) for value in values)
