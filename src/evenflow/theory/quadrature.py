r"""Expectations under the standard normal distribution, by adaptive Gauss-Lobatto panels.

Gauss-Hermite quadrature fits one polynomial to the whole line, so a kink as in ReLU costs its accuracy: 100
nodes are wrong in the third digit. Here [-20, 20] is cut into panels, and a panel is halved until a
polynomial of degree 23 fits the function on it. A smooth function takes 40 panels; a kink or jump that was
not announced is closed in on by bisection until what is left weighs nothing. The same polynomials give the
derivative.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray

from evenflow.errors import ParameterValueError
from evenflow.theory.activations import Array, ArrayFunction

# The density at 20 is 6e-88: any usual power, and what grows like exp(5 |z|), is integrated in full.
_REACH = 20
_NODES = 24
_MAX_HALVINGS = 44
# Enough for some 200 kinks and jumps, and too few for the steps of a function that rounds to bfloat16.
_MAX_PANELS = 16384
# From rounding in float64 to functions that compute in float32 inside.
_TOLERANCES = (1e-14, 1e-11, 1e-6)
_MAX_TAIL_SHARE = 1e-9

# Gauss-Lobatto nodes, the ends of a panel among them: a kink next to an end would slip between Gauss nodes.
# Inside they are the extrema of the Legendre polynomial P of degree n - 1; weights: 2 / (n (n - 1) P(x)^2).
_P = np.eye(_NODES)[-1]
_X = np.concatenate([[-1.0], legendre.legroots(legendre.legder(_P)), [1.0]])
_W = 2 / (_NODES * (_NODES - 1) * legendre.legval(_X, _P) ** 2)
_BASIS = legendre.legvander(_X, _NODES - 1)
_TO_COEFFICIENTS = np.linalg.inv(_BASIS)
_DIFFERENTIATE = _BASIS[:, :-1] @ legendre.legder(np.eye(_NODES)) @ _TO_COEFFICIENTS


@dataclass(frozen=True)
class Sampled:
    """A function at the nodes of panels; every array has one row a panel.

    Attributes:
        points: Where the function was evaluated.
        values: The function there.
        weights: Quadrature weight times normal density.
        widths: Width of each panel, as a column.
        smooth: Whether a polynomial fits the function on the panel, as a column.
    """

    points: Array
    values: Array
    weights: Array
    widths: Array
    smooth: NDArray[np.bool_]

    def expect(self, values: Array) -> float:
        r"""Return $\mathbb{E}[g(z)]$ for the values of g at the points."""
        return float(np.sum(self.weights * values))

    def derivative(self) -> Array:
        """Return the derivative at the points, almost everywhere: a jump itself counts as zero."""
        # Without the offset, so that the derivative of a constant is zero, not rounding over a narrow width.
        rises = self.values - self.values[:, :1]
        return np.where(self.smooth, rises @ _DIFFERENTIATE.T * (2 / self.widths), 0.0)


def sample(function: ArrayFunction, kinks: tuple[float, ...] = ()) -> Sampled:
    """Evaluate a function on panels that are fine enough for it.

    Args:
        function: Elementwise on float64 arrays of one dimension, finite. A lone spike between nodes, which
            are at most 0.07 apart, would not be seen.
        kinks: Where panels must end, because the function is known not to be smooth there.

    Raises:
        ParameterValueError: No panels are fine enough, as for a function that draws random numbers, or the
            second moment under the normal density is infinite.

    Examples:
        >>> sampled = sample(np.cos)
        >>> abs(sampled.expect(sampled.values) - math.exp(-1 / 2)) < 1e-14
        True
    """
    inside = (float(min(max(edge, -_REACH), _REACH)) for edge in (*range(-_REACH, _REACH + 1), *kinks))
    edges = np.array(sorted(set(inside)))
    coarse = _evaluate(function, edges[:-1], edges[1:], math.inf)
    scale = math.sqrt(coarse.expect(coarse.values**2))
    for tolerance in _TOLERANCES:
        sampled = _refine(function, edges, tolerance * scale)
        if sampled is not None:
            _check_tails(sampled)
            return sampled
    raise ParameterValueError(
        "the function must return the same values at every call, in float32 or better, and vary on a scale "
        "above 1e-2: it does not settle under refinement. If it draws random numbers, use evaluation mode"
    )


def _refine(function: ArrayFunction, edges: Array, misfit: float) -> Sampled | None:
    """Halve panels until each is smooth or as narrow as rounding allows; None if they become too many."""
    left, right = edges[:-1], edges[1:]
    done, panel_count = [], 0
    for _ in range(_MAX_HALVINGS):
        panel_count += left.size
        if panel_count > _MAX_PANELS:
            return None
        panels = _evaluate(function, left, right, misfit)
        smooth = panels.smooth[:, 0]
        done.append(_select(panels, smooth))
        left, right = left[~smooth], right[~smooth]
        if left.size == 0:
            return _join(done)
        middle = (left + right) / 2
        left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
    return _join([*done, _evaluate(function, left, right, misfit)])


def _evaluate(function: ArrayFunction, left: Array, right: Array, misfit: float) -> Sampled:
    widths = (right - left)[:, None]
    points = (left + right)[:, None] / 2 + widths / 2 * _X
    # Just inside, so that a function that jumps where panels meet shows each its own side.
    points[:, 0], points[:, -1] = np.nextafter(left, right), np.nextafter(right, left)
    values = function(points.ravel()).reshape(points.shape)
    density = np.exp(-(points**2) / 2) / math.sqrt(2 * math.pi)
    # Four coefficients, because on a symmetric panel every other one of an even or odd function is zero.
    last = np.abs(values @ _TO_COEFFICIENTS[-4:].T).max(axis=1, keepdims=True)
    smooth = last * np.sqrt(density.max(axis=1, keepdims=True)) <= misfit
    return Sampled(points, values, widths / 2 * _W * density, widths, smooth)


def _select(panels: Sampled, rows: NDArray[np.bool_]) -> Sampled:
    return Sampled(
        panels.points[rows],
        panels.values[rows],
        panels.weights[rows],
        panels.widths[rows],
        panels.smooth[rows],
    )


def _join(parts: list[Sampled]) -> Sampled:
    return Sampled(
        points=np.concatenate([part.points for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        weights=np.concatenate([part.weights for part in parts]),
        widths=np.concatenate([part.widths for part in parts]),
        smooth=np.concatenate([part.smooth for part in parts]),
    )


def _check_tails(sampled: Sampled) -> None:
    mass = sampled.weights * (sampled.values * sampled.points) ** 2
    if mass[np.abs(sampled.points) > _REACH - 1].sum() > _MAX_TAIL_SHARE * mass.sum():
        raise ParameterValueError(
            "the function must have a finite second moment under N(0, 1): it grows too fast, like exp(z^2 / 4) or more"
        )
