"""The options that every layer here has beyond torch's, checked once."""

from typing import TypedDict

import torch

from evenflow import checks
from evenflow.errors import ParameterValueError


class Options(TypedDict, total=False):
    """The keyword arguments of `EvenBatchNorm` that its variants pass on."""

    bias: bool
    activation: str | None
    on_nonfinite: str
    momentum_of: str
    running_variance: str
    statistics_dtype: torch.dtype | None
    accumulate: int
    frozen: bool
    inplace: bool


def weight_of_new_value(momentum: float | None, momentum_of: str) -> float | None:
    """Return a momentum in torch's meaning, the weight of the new value.

    Raises:
        ParameterTypeError: `momentum` is no number, or `momentum_of` no string.
        ParameterValueError: `momentum` is not in [0, 1], or `momentum_of` is neither "new" nor "old".

    Examples:
        >>> weight_of_new_value(0.75, "old")
        0.25
    """
    of_old = checks.choice("momentum_of", momentum_of, ["new", "old"]) == "old"
    if momentum is None:
        return None
    value = checks.real("momentum", momentum, low=0, high=1)
    return 1 - value if of_old else value


def check_statistics_dtype(dtype: torch.dtype | None) -> torch.dtype | None:
    """Return `dtype` if statistics can be kept in it.

    Raises:
        ParameterValueError: It is narrower than float32, or no floating dtype.
    """
    if dtype in {None, torch.float32, torch.float64}:
        return dtype
    raise ParameterValueError(
        f"statistics_dtype must be None, torch.float32 or torch.float64; got {dtype!r}. In a narrower type small "
        "steps round away and the running statistics stall"
    )
