"""How a loss swings around its trend."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import signal

from evenflow.errors import ParameterValueError

LEAST = 20


@dataclass(frozen=True, slots=True)
class Oscillation:
    """How a loss swings around its trend.

    Attributes:
        deviation: Standard deviation of the detrended logarithm of the loss, or of the detrended loss itself; inf
            where the loss is not finite.
        variance: Its square.
        sign_changes: Share of steps at which what is left changes its sign, in [0, 1].
    """

    deviation: float
    variance: float
    sign_changes: float


def oscillation(losses: Sequence[float], window: int | None = None, *, relative: bool = True) -> Oscillation:
    """Measure how a loss swings around its trend.

    The trend is a Savitzky-Golay line of second degree through the logarithm of the loss, which follows a falling loss
    without following its swings. Logarithms make swings relative: 0.1 is a tenth of the loss. A loss near zero then
    swings far by small amounts, which `relative=False` counts as small.

    Args:
        losses: The loss of every step, positive; at least 20.
        window: Steps that the trend looks at, odd; None for about a fifth of all.
        relative: Whether the swings are those of the logarithm. False takes the loss as it is, of any sign.

    Returns:
        The oscillation; infinite where a loss is not finite or, of relative ones, not positive.

    Raises:
        ParameterValueError: There are fewer than 20 losses.

    Examples:
        >>> calm = [1 / (1 + step) for step in range(100)]
        >>> wild = [loss * (1.5 if step % 2 else 0.5) for step, loss in enumerate(calm)]
        >>> oscillation(calm).deviation < 0.1 < oscillation(wild).deviation
        True
        >>> oscillation(wild[50:], relative=False).deviation < 0.1 < oscillation(wild[50:]).deviation
        True

    References:
        Savitzky & Golay 1964, "Smoothing and differentiation of data by simplified least squares procedures".
    """
    values = np.asarray(losses, dtype=np.float64)
    if not (np.isfinite(values).all() and (not relative or (values > 0).all())):
        return Oscillation(math.inf, math.inf, math.nan)
    if len(values) < LEAST:
        raise ParameterValueError(f"losses must hold at least {LEAST} values; got {len(values)}")
    height = np.log(values) if relative else values
    length = (len(values) // 5) | 1 if window is None else window
    rest = height - signal.savgol_filter(height, max(length, 5), 2)
    signs = np.sign(rest)
    return Oscillation(float(rest.std()), float(rest.var()), float(np.mean(signs[1:] != signs[:-1])))
