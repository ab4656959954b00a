"""The loss of an output: the caller's, the model's own, or the one that the targets suggest."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evenflow.errors import LossError, ModelError
from evenflow.probe.batch import Batch, copied, main_tensor
from evenflow.probe.guard import told_as
from evenflow.probe.records import LossRecord

LossFunction = Callable[..., Tensor]

# Targets that torch's cross-entropy leaves out.
IGNORED = -100

# Length after which the direction of a projection repeats: prime, so that it falls in step with no layer's width.
PERIOD = 8191


def loss_of(output: Any, batch: Batch, loss_fn: LossFunction | None) -> tuple[Tensor, LossRecord]:
    """Compute a scalar loss, and say what it is.

    In this order: the given function, called as `loss_fn(output, targets)` or, without targets, `loss_fn(output)`; the
    output's own `loss`; cross-entropy for integer targets; mean squared error for real targets of the output's shape;
    and without targets the sum of the outputs along a fixed direction, which carries gradients but means nothing.

    Raises:
        LossError: None of these fits, or the function raises or returns no scalar.
        ModelError: The output holds no floating-point value.
    """
    targets = copied(batch.targets)
    if loss_fn is not None:
        return _given(output, targets, loss_fn)
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    logits = main_tensor(output)
    if isinstance(own, Tensor) and own.is_floating_point():
        loss = own.mean()
        return loss, LossRecord("model", _value(loss), *_chance(_classes_beside(logits, batch)))
    if logits is None or logits.numel() == 0:
        raise ModelError(
            f"the model returned {_described(output)}, which holds no floating-point value, so there is nothing to "
            "differentiate; return the outputs, or a dict with 'loss'"
        )
    if targets is None:
        loss = _projection(logits)
        return loss, LossRecord("projection", _value(loss))
    with told_as(LossError, lambda error: f"the loss of output and targets raised {error}; pass loss_fn="):
        return _guessed(logits, targets)


def _given(output: Any, targets: Any, loss_fn: LossFunction) -> tuple[Tensor, LossRecord]:
    if not callable(loss_fn):
        raise LossError(f"loss_fn must be callable as loss_fn(output, targets); got {type(loss_fn).__name__}")
    with told_as(LossError, lambda error: f"loss_fn raised {error}; it is called as loss_fn(output, targets)"):
        loss = loss_fn(output) if targets is None else loss_fn(output, targets)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        many = isinstance(loss, Tensor) and loss.numel() > 1
        raise LossError(
            f"loss_fn must return a scalar floating-point tensor, to be differentiated; got {_described(loss)}"
            + ("; average it with .mean()" if many else "")
        )
    plain = isinstance(loss_fn, nn.CrossEntropyLoss) and loss_fn.weight is None and loss_fn.reduction == "mean"
    classes = output.shape[1] if (plain or loss_fn is functional.cross_entropy) and output.dim() > 1 else None
    return loss.reshape(()), LossRecord("given", _value(loss), *_chance(classes))


def _guessed(logits: Tensor, targets: Any) -> tuple[Tensor, LossRecord]:
    if not isinstance(targets, Tensor):
        raise LossError(f"targets of type {type(targets).__name__} suggest no loss; pass loss_fn=")
    if targets.is_floating_point() and targets.shape == logits.shape and not logits.is_complex():
        common = torch.promote_types(torch.promote_types(logits.dtype, targets.dtype), torch.float32)
        loss = functional.mse_loss(logits.to(common), targets.to(common))
        return loss, LossRecord("mean squared error", _value(loss))
    places = _class_dims(logits, targets)
    if len(places) == 1:
        classes_last = logits.movedim(places[0], -1)
        return _cross_entropy(classes_last.reshape(-1, classes_last.shape[-1]), targets.reshape(-1))
    shapes = f"output {tuple(logits.shape)} {_dtype(logits)} and targets {tuple(targets.shape)} {_dtype(targets)}"
    if places:
        raise LossError(f"the classes of {shapes} may lie in dimension 1 or in the last one; pass loss_fn=")
    raise LossError(
        f"no loss can be guessed for {shapes}: integer targets go with (N, classes) outputs, real targets with "
        "outputs of the same shape; reshape one of them, or pass loss_fn=, for example torch.nn.BCEWithLogitsLoss()"
    )


def _class_dims(logits: Tensor, targets: Tensor) -> list[int]:
    """The dimensions of the output that may count the classes which the targets name."""
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool or logits.dim() < 2:
        return []
    shape, dims = list(logits.shape), sorted({1, logits.dim() - 1})
    return [dim for dim in dims if shape[dim] > 1 and shape[:dim] + shape[dim + 1 :] == list(targets.shape)]


def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, LossRecord]:
    classes = logits.shape[-1]
    real = targets[targets != IGNORED]
    if not real.numel():
        raise LossError(f"every target is {IGNORED}, which the loss leaves out; pass a batch with at least one target")
    if not 0 <= int(real.min()) <= int(real.max()) < classes:
        raise LossError(
            f"the targets run from {int(real.min())} to {int(real.max())}, but the model has {classes} outputs; "
            "classes are numbered from 0"
        )
    loss = functional.cross_entropy(logits.float(), targets.long())
    return loss, LossRecord("cross-entropy", _value(loss), *_chance(classes))


def _classes_beside(logits: Tensor | None, batch: Batch) -> int | None:
    """Classes of a model that computes its own loss: only where integer labels lie beside its logits."""
    labels = batch.kwargs.get("labels")
    if logits is None or not isinstance(labels, Tensor) or labels.is_floating_point() or logits.dim() < 2:
        return None
    return logits.shape[-1] if logits.shape[:-1] == labels.shape and logits.shape[-1] > 1 else None


def _chance(classes: int | None) -> tuple[float | None, int | None]:
    return (None, None) if classes is None else (math.log(classes), classes)


def _projection(logits: Tensor) -> Tensor:
    real = torch.view_as_real(logits) if logits.is_complex() else logits
    flat = real.float().reshape(-1)
    places = torch.arange(1, min(len(flat), PERIOD) + 1, dtype=torch.float64)
    direction = torch.cos(places**1.5).to(flat).repeat(math.ceil(len(flat) / PERIOD))[: len(flat)]
    return (flat * direction).sum() / math.sqrt(len(flat))


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} {_dtype(value)}"
    return type(value).__name__


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _value(loss: Tensor) -> float:
    return float(loss.detach())
