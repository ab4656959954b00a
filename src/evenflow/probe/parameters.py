"""What is recorded of one parameter and of its gradient."""

from torch import Tensor

from evenflow.probe.moments import size
from evenflow.probe.records import ParameterRecord
from evenflow.probe.rows import distinct_rows, distinct_up_to_rounding


def parameter_record(name: str, parameter: Tensor, gradient: Tensor | None) -> ParameterRecord:
    """Describe a parameter and the gradient that the backward pass left for it (None when frozen or unused)."""
    matrix = parameter.dim() >= 2
    rms, norm, nonfinite = size(parameter)
    dense = gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient
    _, grad_norm, grad_nonfinite = (None, None, 0) if dense is None else size(dense)
    return ParameterRecord(
        name=name,
        shape=tuple(parameter.shape),
        trainable=parameter.requires_grad,
        rms=rms,
        norm=norm,
        nonfinite=nonfinite,
        rows=parameter.shape[0] if matrix else None,
        distinct_rows=distinct_rows(parameter) if matrix else None,
        grad_norm=grad_norm,
        grad_nonfinite=grad_nonfinite,
        grad_distinct_rows=distinct_up_to_rounding(dense) if matrix and dense is not None else None,
    )
