"""What is recorded of one parameter and of its gradient."""

import math

import torch
from torch import Tensor

from evenflow.probe.moments import moments
from evenflow.probe.records import ParameterRecord

ROUNDING = 1e-6


def parameter_record(name: str, parameter: Tensor, gradient: Tensor | None) -> ParameterRecord:
    """Describe a parameter and the gradient that the backward pass left for it (None when frozen or unused)."""
    value = moments(parameter)
    matrix = parameter.dim() >= 2
    dense = None if gradient is None else gradient.to_dense() if gradient.is_sparse else gradient
    slope = None if dense is None else moments(dense)
    return ParameterRecord(
        name=name,
        shape=tuple(parameter.shape),
        trainable=parameter.requires_grad,
        rms=value.rms,
        norm=_norm(value.rms, parameter),
        nonfinite=value.nonfinite,
        rows=parameter.shape[0] if matrix else None,
        distinct_rows=distinct_rows(parameter) if matrix else None,
        grad_norm=None if slope is None else _norm(slope.rms, parameter),
        grad_nonfinite=0 if slope is None else slope.nonfinite,
        grad_distinct_rows=distinct_up_to_rounding(dense) if matrix and dense is not None else None,
    )


def _norm(rms: float, tensor: Tensor) -> float:
    return rms * math.sqrt(tensor.numel())


def distinct_rows(matrix: Tensor) -> int:
    """Number of different rows (dimension 0), bit for bit, with -0 equal to 0."""
    rows = matrix.detach().reshape(matrix.shape[0], -1)
    rows = torch.view_as_real(rows).flatten(1) if rows.is_complex() else rows
    if rows.dtype not in (torch.float32, torch.float64):
        rows = rows.float()
    return len({row.tobytes() for row in (rows + 0.0).cpu().numpy()})


def distinct_up_to_rounding(matrix: Tensor) -> int:
    """Number of rows (dimension 0) that differ by more than float32 rounding.

    Equal units get gradients that are equal but for the order of summation, so the rows are compared through one
    projection each: values closer than 1e-6 of the largest count as one. Rows with NaN count as one.
    """
    rows = matrix.detach().reshape(matrix.shape[0], -1)
    rows = torch.view_as_real(rows).flatten(1) if rows.is_complex() else rows
    if rows.numel() == 0:
        return 0
    rows = rows.double()
    largest = rows.abs().max()
    if not torch.isfinite(largest):
        rows = torch.nan_to_num(rows)
        largest = rows.abs().max().clamp_max(1e300)
    if largest == 0:
        return 1
    direction = torch.cos(torch.arange(1, rows.shape[1] + 1, dtype=torch.float64, device=rows.device) ** 1.5)
    projected = (rows / largest @ direction).sort().values
    gaps = projected.diff() > ROUNDING * projected.abs().max().clamp_min(ROUNDING)
    return 1 + int(gaps.sum())
