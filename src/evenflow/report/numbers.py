"""Numbers as a reader wants them: three digits, percentages, and words where there is no number."""

import math

MISSING = "\N{EN DASH}"


def number(value: float | None) -> str:
    """Write a number in at most eight characters.

    Examples:
        >>> [number(v) for v in (0.12345, 12.0, 3.2e-9, 0, float("nan"), None)]
        ['0.123', '12', '3.2e-9', '0', 'NaN', '–']
    """
    if value is None:
        return MISSING
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def share(value: float | None) -> str:
    """Write a share in [0, 1] as a percentage that rounds neither to none nor to all.

    Examples:
        >>> [share(v) for v in (0.0, 0.001, 0.37, 0.999, 1.0, None)]
        ['0 %', '<1 %', '37 %', '>99 %', '100 %', '–']
    """
    if value is None or math.isnan(value):
        return MISSING
    percent = 100 * value
    if 0 < percent < 1:
        return "<1 %"
    if 99 < percent < 100:
        return ">99 %"
    return f"{percent:.0f} %"


def accuracy(value: float | None) -> str:
    """Write an accuracy in [0, 1] with one decimal.

    Examples:
        >>> accuracy(0.9572)
        '95.7 %'
    """
    return MISSING if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def count(quantity: int, noun: str) -> str:
    """Write a quantity with its noun in the right number.

    Examples:
        >>> count(1, "error"), count(20, "layer"), count(12500, "parameter")
        ('1 error', '20 layers', '12,500 parameters')
    """
    return f"{quantity:,} {noun}" if quantity == 1 else f"{quantity:,} {noun}s"


def steps(value: int | None) -> str:
    """Write the step at which a target was reached.

    Examples:
        >>> steps(1200), steps(None)
        ('1,200', 'never')
    """
    return "never" if value is None else f"{value:,}"
