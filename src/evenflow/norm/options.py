"""The options that every layer here has beyond torch's, checked once."""

from collections.abc import Iterable
from typing import TypedDict

import torch

from evenflow import checks
from evenflow.errors import ParameterTypeError, ParameterValueError


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


def refuse_unknown(layer: str, keywords: Iterable[str]) -> None:
    """Refuse keywords that no layer has.

    Args:
        layer: The name of the layer that was called.
        keywords: Those that it does not know.

    Raises:
        ParameterTypeError: There is one.

    Examples:
        >>> refuse_unknown("BatchNorm2d", ["activate"])
        Traceback (most recent call last):
        ...
        evenflow.errors.ParameterTypeError: BatchNorm2d() has no keyword argument 'activate'; what every ...
    """
    for keyword in keywords:
        raise ParameterTypeError(
            f"{layer}() has no keyword argument {keyword!r}; what every layer knows beyond torch's arguments: "
            f"{', '.join(Options.__annotations__)}"
        )


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
