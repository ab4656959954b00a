"""The loss of an output: the caller's, the model's own, or the one that the targets suggest."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from evenflow.errors import LossError, ModelError
from evenflow.probe.batch import Batch, main_tensor
from evenflow.probe.guard import told_as
from evenflow.probe.records import LossRecord

LossFunction = Callable[..., Tensor]


def loss_of(output: Any, batch: Batch, loss_fn: LossFunction | None) -> tuple[Tensor, LossRecord]:
    """Compute a scalar loss, and say what it is.

    In this order: the given function, called as `loss_fn(output, targets)` or, without targets, `loss_fn(output)`; the
    output's own `loss`; cross-entropy for integer targets; mean squared error for real targets of the output's shape;
    and without targets the sum of the outputs along a fixed direction, which carries gradients but means nothing.

    Raises:
        LossError: None of these fits, or the function raises or returns no scalar.
        ModelError: The output holds no real tensor.
    """
    if loss_fn is not None:
        return _given(output, batch.targets, loss_fn)
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    logits = main_tensor(output)
    if isinstance(own, Tensor):
        classes = _classes_beside(logits, batch)
        return own.mean(), LossRecord("model", _value(own.mean()), *_chance(classes))
    if logits is None:
        raise ModelError(
            f"the model returned {type(output).__name__} without a floating-point tensor, so there is nothing to "
            "differentiate; return the outputs, or a dict with 'loss'"
        )
    if batch.targets is None:
        loss = _projection(logits)
        return loss, LossRecord("projection", _value(loss))
    return _guessed(logits, batch.targets)


def _given(output: Any, targets: Any, loss_fn: LossFunction) -> tuple[Tensor, LossRecord]:
    if not callable(loss_fn):
        raise LossError(f"loss_fn must be callable as loss_fn(output, targets); got {type(loss_fn).__name__}")
    with told_as(LossError, lambda error: f"loss_fn raised {error}; it is called as loss_fn(output, targets)"):
        loss = loss_fn(output) if targets is None else loss_fn(output, targets)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise LossError(f"loss_fn must return a scalar tensor; got {got}; average it with .mean()")
    plain = isinstance(loss_fn, nn.CrossEntropyLoss) and loss_fn.weight is None and loss_fn.reduction == "mean"
    classes = output.shape[1] if (plain or loss_fn is functional.cross_entropy) and output.dim() > 1 else None
    return loss.reshape(()), LossRecord("given", _value(loss), *_chance(classes))


def _guessed(logits: Tensor, targets: Any) -> tuple[Tensor, LossRecord]:
    if not isinstance(targets, Tensor):
        raise LossError(f"targets of type {type(targets).__name__} suggest no loss; pass loss_fn=")
    shapes = f"output {tuple(logits.shape)} and targets {tuple(targets.shape)} {targets.dtype}"
    if targets.is_floating_point() and targets.shape == logits.shape:
        loss = functional.mse_loss(logits, targets)
        return loss, LossRecord("mean squared error", _value(loss))
    integer = not targets.is_floating_point() and not targets.is_complex() and targets.dtype != torch.bool
    if integer and logits.dim() >= 2:
        for dim in (-1, 1):
            others = logits.movedim(dim, -1)
            if others.shape[:-1] == targets.shape and others.shape[-1] > 1:
                return _cross_entropy(others.reshape(-1, others.shape[-1]), targets.reshape(-1))
    raise LossError(
        f"no loss can be guessed for {shapes}: integer targets go with (N, classes) outputs, real targets with "
        "outputs of the same shape; pass loss_fn=, for example torch.nn.BCEWithLogitsLoss()"
    )


def _cross_entropy(logits: Tensor, targets: Tensor) -> tuple[Tensor, LossRecord]:
    classes = logits.shape[-1]
    real = targets[targets != -100]
    if real.numel() and not 0 <= int(real.min()) <= int(real.max()) < classes:
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
    real = real.float()
    places = torch.arange(1, real.numel() + 1, dtype=torch.float64, device=real.device)
    direction = torch.cos(places**1.5).to(real.dtype).reshape(real.shape)
    return (real * direction).sum() / math.sqrt(real.numel())


def _value(loss: Tensor) -> float:
    return float(loss.detach())
