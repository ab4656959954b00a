"""Constraints on hyper-parameters that write their own messages.

Each function returns the value it was given, converted, or raises an error that names the parameter, its value and what
is allowed.
"""

import math
from collections.abc import Iterable
from numbers import Integral, Real

from evenflow.errors import ParameterTypeError, ParameterValueError

# The usual types first: to ask an abstract one takes ten times as long.
_REAL, _INTEGRAL = (float, int, Real), (int, Integral)


def real(
    name: str,
    value: object,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
    infinite: bool = False,
) -> float:
    """Return `value` as a float if it is a number in the interval.

    Args:
        name: The parameter's name, for the message.
        value: What the caller passed.
        low: Lower end of the interval.
        high: Upper end of the interval.
        open_low: Whether `low` itself is excluded.
        open_high: Whether `high` itself is excluded.
        infinite: Whether an infinite value is allowed.

    Raises:
        ParameterTypeError: It is not a real number (a bool is not one).
        ParameterValueError: It is NaN, infinite or outside the interval.

    Examples:
        >>> real("momentum", 0.1, low=0, high=1)
        0.1
        >>> real("max_norm", -1, low=0)
        Traceback (most recent call last):
        ...
        evenflow.errors.ParameterValueError: max_norm must be a finite number in [0, inf); got -1
    """

    def wanted() -> str:
        left = "(" if open_low or math.isinf(low) else "["
        right = ")" if open_high or (math.isinf(high) and not infinite) else "]"
        finite = "" if infinite else "finite "
        return f"{name} must be a {finite}number in {left}{low:g}, {high:g}{right}; got {value!r}"

    if isinstance(value, bool) or not isinstance(value, _REAL):
        raise ParameterTypeError(wanted())
    number = float(value)
    below = number <= low if open_low and not (infinite and math.isinf(low)) else number < low
    above = number >= high if open_high and not (infinite and math.isinf(high)) else number > high
    if math.isnan(number) or below or above or (math.isinf(number) and not infinite):
        raise ParameterValueError(wanted())
    return number


def integer(name: str, value: object, *, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as an int if it is an integer in `[low, high]`.

    Raises:
        ParameterTypeError: It is not an integer (a bool is not one).
        ParameterValueError: It is outside the interval.

    Examples:
        >>> integer("num_features", 3, low=1)
        3
    """

    def wanted() -> str:
        interval = f"[{'-inf' if low is None else low}, {'inf' if high is None else high}]"
        return f"{name} must be an integer in {interval}; got {value!r}"

    if isinstance(value, bool) or not isinstance(value, _INTEGRAL):
        raise ParameterTypeError(wanted())
    number = int(value)
    if (low is not None and number < low) or (high is not None and number > high):
        raise ParameterValueError(wanted())
    return number


def choice(name: str, value: object, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`.

    Raises:
        ParameterTypeError: It is not a string.
        ParameterValueError: It is another string.

    Examples:
        >>> choice("mode", "fan_in", ["fan_in", "fan_out"])
        'fan_in'
    """
    options = list(allowed)
    wanted = f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}"
    if not isinstance(value, str):
        raise ParameterTypeError(wanted)
    if value not in options:
        raise ParameterValueError(wanted)
    return value
