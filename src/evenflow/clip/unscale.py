"""Gradients under a GradScaler: whether they are scaled, and unscaling them before they are clipped."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import OptState

from evenflow.clip.gradients import values_to_write
from evenflow.errors import ScaledGradientsError


def unscale_(parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer | None, scaler: Any) -> bool:
    """See to it that the gradients are not scaled.

    Args:
        parameters: Whose gradients are to be clipped.
        optimizer: The optimizer of these parameters, if known.
        scaler: The `torch.amp.GradScaler` that scaled the loss, if known.

    Returns:
        Whether the scaler has found infinity or NaN, and will therefore not let the optimizer step.

    Raises:
        ScaledGradientsError: The gradients are scaled and cannot be unscaled.
    """
    if optimizer is not None and getattr(optimizer, "grad_scale", None) is not None:
        return _unscale_for_fused_(parameters, optimizer)
    if scaler is None or not scaler.is_enabled() or scaler._scale is None:
        return False
    if optimizer is None:
        raise ScaledGradientsError(
            "the gradients are scaled by the GradScaler, which unscales them for an optimizer; pass it, as in "
            "clipper.step(optimizer), or attach the clipper to it"
        )
    _require_covered(parameters, optimizer)
    state = scaler._per_optimizer_states[id(optimizer)]
    if state["stage"] is OptState.STEPPED:
        raise ScaledGradientsError(
            "scaler.step(optimizer) was called since the last scaler.update(), so it is too late to clip; clip before "
            "scaler.step, or call scaler.update() first"
        )
    if state["stage"] is OptState.READY:
        scaler.unscale_(optimizer)
    return any(float(found) > 0 for found in state["found_inf_per_device"].values())


def _unscale_for_fused_(parameters: Sequence[Tensor], optimizer: Any) -> bool:
    """Unscale what a fused optimizer, called by `scaler.step`, would unscale while it steps."""
    if float(optimizer.found_inf) > 0:
        return True
    _require_covered(parameters, optimizer)
    inverse = 1.0 / float(optimizer.grad_scale)
    every = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for values in [values_to_write(parameter.grad) for parameter in every if parameter.grad is not None]:
        values.mul_(inverse)
    optimizer.grad_scale = None
    return False


def _require_covered(parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> None:
    covered = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if any(id(parameter) not in covered and parameter.grad is not None for parameter in parameters):
        raise ScaledGradientsError(
            "the clipper has parameters that this optimizer does not have, whose gradients stay scaled; make a clipper "
            "for each optimizer"
        )
