"""Tests of randomness, each a number that is standard normal (or a distance with a known distribution) by chance.

The thresholds were fixed before the first run. With about a hundred numbers below `LIMIT` standard deviations, a right
generator fails once in ten thousand batteries. The draws are addressed, so that a failure comes back.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from scipy import special, stats

from evenflow.random import Stream

# Two-sided, one in a million; and Kolmogorov's distance times the root of the number, one in a million as well.
LIMIT = 4.9
KOLMOGOROV = 2.7

Draw = Callable[[Stream, int, int], np.ndarray]

CHUNK = 2**21
CUT = 2.0
MASS = float(special.ndtr(CUT) - special.ndtr(-CUT))

DRAWS: dict[str, Draw] = {
    "uniform": lambda stream, count, start: stream.uniform(count, start=start),
    "normal": lambda stream, count, start: stream.normal(count, start=start),
    "truncated": lambda stream, count, start: stream.truncated_normal(count, low=-CUT, high=CUT, start=start),
    "far truncated": lambda stream, count, start: stream.truncated_normal(count, low=4.5, high=math.inf, start=start),
}


def to_uniform(name: str, x: np.ndarray) -> np.ndarray:
    """The distribution function of a draw, which makes it uniform."""
    x = x.astype(np.float64)
    if name == "uniform":
        return x + 2.0**-25  # the middle of the step that 24 bits leave
    if name == "normal":
        return special.ndtr(x)
    if name == "truncated":
        return (special.ndtr(x) - special.ndtr(-CUT)) / MASS
    return 1 - special.ndtr(-x) / special.ndtr(-4.5)


def chunks(name: str, seed: int, text: str, count: int, draw: Draw | None = None) -> Iterator[np.ndarray]:
    stream = Stream(seed, text)
    for start in range(0, count, CHUNK):
        yield (draw or DRAWS[name])(stream, min(CHUNK, count - start), start)


class Battery:
    """Sums over a long sequence, from which every number follows.

    Attributes:
        numbers: The results by name: standard deviations, but for "kolmogorov", which is the distance times the root.
    """

    def __init__(
        self, name: str, count: int, draw: Draw | None = None, seed: int = 1, text: str = "layer.weight"
    ) -> None:
        self.name, self.count, self.numbers = name, count, {}
        self._bins = np.zeros(2**12, dtype=np.int64)
        self._powers = np.zeros(4)
        self._lags = dict.fromkeys(range(1, 9), 0.0)
        self._tails = dict.fromkeys((3.0, 4.0, 5.0), 0)
        beside = [(seed + 1, text), (seed, text + "."), (seed, "layer.bias"), (-seed, text)]
        self._others = dict.fromkeys(beside, 0.0)
        sources = {key: chunks(name, *key, count, draw) for key in beside}
        for x in chunks(name, seed, text, count, draw):
            self._take(x, {key: next(source) for key, source in sources.items()})
        self._conclude()

    def _take(self, x: np.ndarray, others: dict[tuple[int, str], np.ndarray]) -> None:
        u = to_uniform(self.name, x)
        self._bins += np.bincount(
            (u * len(self._bins)).astype(np.int64).clip(0, len(self._bins) - 1), minlength=len(self._bins)
        )
        centred = (u - 0.5) * math.sqrt(12)
        self._powers += [float((centred**power).sum()) for power in (1, 2, 3, 4)]
        for lag in self._lags:
            self._lags[lag] += float(np.dot(centred[:-lag], centred[lag:]))
        for key, other in others.items():
            self._others[key] += float(np.dot(centred, (to_uniform(self.name, other) - 0.5) * math.sqrt(12)))
        if self.name == "normal":
            for depth in self._tails:
                self._tails[depth] += int((np.abs(x) > depth).sum())

    def _conclude(self) -> None:
        n, bins = self.count, len(self._bins)
        # Moments of a uniform number on [-sqrt(3), sqrt(3)]: 0, 1, 0, 9/5; variance of its powers from the next ones.
        moments = {1: 0.0, 2: 1.0, 3: 0.0, 4: 1.8, 6: 27 / 7, 8: 9.0}
        for power in (1, 2, 3, 4):
            spread = math.sqrt(moments[2 * power] - moments[power] ** 2)
            self.numbers[f"moment {power}"] = (self._powers[power - 1] / n - moments[power]) * math.sqrt(n) / spread
        squares = float(((self._bins - n / bins) ** 2).sum()) / (n / bins)
        self.numbers["cells"] = (squares - (bins - 1)) / math.sqrt(2 * (bins - 1))
        ends = np.cumsum(self._bins) / n - np.arange(1, bins + 1) / bins
        self.numbers["kolmogorov"] = float(np.abs(ends).max()) * math.sqrt(n)
        for lag, total in self._lags.items():
            self.numbers[f"lag {lag}"] = total / math.sqrt(n)
        for key, total in self._others.items():
            self.numbers[f"beside {key}"] = total / math.sqrt(n)
        for depth, found in self._tails.items() if self.name == "normal" else ():
            expected = n * 2 * float(special.ndtr(-depth))
            self.numbers[f"beyond {depth:g} sigma"] = _poisson(found, expected)

    def failures(self) -> list[str]:
        """The numbers beyond their limit."""
        return [
            f"{name}: {value:.2f}"
            for name, value in self.numbers.items()
            if abs(value) > (KOLMOGOROV if name == "kolmogorov" else LIMIT)
        ]


def _poisson(found: int, expected: float) -> float:
    """How far a count is from its expectation, as a normal number."""
    below, above = stats.poisson.cdf(found, expected), stats.poisson.sf(found - 1, expected)
    return float(stats.norm.ppf(below) if below < above else -stats.norm.ppf(above))
