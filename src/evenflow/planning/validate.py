"""Whether a row can be carried out."""

import math
from collections.abc import Mapping
from dataclasses import replace

from evenflow.errors import ParameterValueError, PlanError
from evenflow.planning.row import BUFFER, PARAMETER, RULES, Row
from evenflow.random import Stream

# No number below it is too large for any draw.
LARGE = 1e30

# Options that a rule can do without.
OPTIONAL = {"padding_idx", "dim", "blocks"}


def validate(row: Row) -> Row:
    """Return the row, its list of values as a tuple, if it makes sense by itself.

    Raises:
        PlanError: Its rule is unknown, its options are not those of the rule, or they are out of range.
    """
    if row.kind not in (PARAMETER, BUFFER):
        raise PlanError(f"{row.name}: kind must be {PARAMETER!r} or {BUFFER!r}; got {row.kind!r}")
    if row.rule not in RULES:
        raise PlanError(f"{row.name}: there is no rule {row.rule!r}; one of {', '.join(RULES)}")
    if not isinstance(row.options, Mapping):
        raise PlanError(f"{row.name}: options must be a dictionary; got {row.options!r}")
    known = RULES[row.rule]
    unknown = [key for key in row.options if key not in known]
    missing = [key for key in known if key not in row.options and key not in OPTIONAL]
    if unknown or missing:
        wrong = f"has no option {unknown[0]!r}" if unknown else f"needs the option {missing[0]!r}"
        raise PlanError(f"{row.name}: the rule {row.rule!r} {wrong}; it takes {', '.join(known) or 'none'}")
    for key, value in row.options.items():
        _check(row, key, value)
    if row.rule in ("uniform", "truncated_normal") and not row.number("low") <= row.number("high"):
        raise PlanError(f"{row.name}: low must not be above high; got {row.options['low']} and {row.options['high']}")
    _require_drawable(row)
    values = row.options.get("values")
    return replace(row, options={**row.options, "values": tuple(values)}) if isinstance(values, list) else row


def _require_drawable(row: Row) -> None:
    """Have the stream refuse what float32 cannot draw; all smaller numbers are fine with it."""
    stream = Stream(0, row.name)
    draw = {"normal": stream.normal, "uniform": stream.uniform, "truncated_normal": stream.truncated_normal}
    numbers = [row.number(key) for key in RULES[row.rule] if key != "padding_idx"] if row.rule in draw else []
    if any(abs(number) > LARGE for number in numbers):
        try:
            draw[row.rule]((0,), *numbers)
        except ParameterValueError as error:
            raise PlanError(f"{row.name}: {error}") from None


def _check(row: Row, key: str, value: object) -> None:
    if key == "weight":
        if not isinstance(value, str):
            raise PlanError(f"{row.name}: weight must be the name of a parameter; got {value!r}")
        return
    if key == "values" and not isinstance(value, (tuple, list)):
        raise PlanError(f"{row.name}: values must be a list of numbers; got {value!r}")
    numbers = value if isinstance(value, (tuple, list)) else [value]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise PlanError(f"{row.name}: {key} must be a number; got {number!r}")
        endless = row.rule == "truncated_normal" and key in ("low", "high")
        if math.isnan(number) or (math.isinf(number) and not endless):
            raise PlanError(f"{row.name}: {key} must be finite; got {number}")
    size = row.shape[0] if row.shape else 1
    if key == "std" and row.number("std") < 0:
        raise PlanError(f"{row.name}: std must not be negative; got {value}")
    if key == "values" and (not numbers or size % len(numbers)):
        raise PlanError(f"{row.name}: {len(numbers)} values cannot divide its {size} elements into equal parts")
    if key == "dim" and (not isinstance(value, int) or value < 0):
        raise PlanError(f"{row.name}: dim must be the number of a dimension; got {value}")
    if key == "blocks" and (not isinstance(value, int) or value < 1 or size % value):
        raise PlanError(f"{row.name}: blocks must be an integer that divides its {size} rows; got {value}")
    if key == "padding_idx" and (not isinstance(value, int) or not -size <= value < size):
        raise PlanError(f"{row.name}: padding_idx must be the index of one of its {size} rows; got {value}")
