"""A stream: an endless sequence of random words that a seed and a name address."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from evenflow import checks
from evenflow.errors import ParameterValueError
from evenflow.random import central, philox
from evenflow.random.draw import LAST, Shape, Start, draw
from evenflow.random.key import stream_key
from evenflow.random.normal import normal
from evenflow.random.transforms import Floats
from evenflow.random.truncated import truncated_normal
from evenflow.random.uniform import uniform

Words = NDArray[np.uint32]

_LARGEST = float(np.finfo(np.float32).max)
# Bounds that keep the float32 arithmetic of the transforms below overflow: no draw is beyond 6.8 deviations.
_LOCATION = _LARGEST / 2
_SCALE = _LARGEST / 16


class Stream:
    r"""Random numbers that are a function of (seed, name, index) and of nothing else.

    $$
    \mathrm{word}_i = \mathrm{Philox4x32}_{10}(\lfloor i/4 \rfloor;\ K(seed, name))_{i \bmod 4}
    $$

    with the key $K$ of `evenflow.random.key`. Nothing is consumed: two calls with the same arguments return
    the same numbers, element `i` does not depend on how many others are drawn, and `start` draws a part of a
    whole. The bits are a promise for `words`, `uniform` and `normal`. `truncated_normal` begins with the
    probabilities of the interval in float64, so another mathematical library may change the last bit of about
    one draw in a million.

    Large draws are made by compiled kernels with the same bits, if Numba is installed. Every method that draws
    takes `out`, an array to draw into, and `threads`, how many threads may share a large draw; neither changes a
    bit. The default is one thread, since NumPy has no setting to follow; `evenflow.init` passes torch's.

    Args:
        seed: An integer in [-2^63, 2^63).
        name: Any text; for a model, the parameter's qualified name.

    Raises:
        ParameterTypeError: The seed is no integer or the name no string.
        ParameterValueError: The seed does not fit 64 bits.

    Examples:
        >>> whole = Stream(0, "layer.weight").normal((4, 3))
        >>> part = Stream(0, "layer.weight").normal((2, 3), start=6)
        >>> bool((whole[2:] == part).all())
        True

    References:
        Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """

    __slots__ = ("_key",)

    def __init__(self, seed: int, name: str) -> None:
        self._key = stream_key(seed, name)

    @classmethod
    def from_key(cls, key: int) -> Self:
        """Return the stream of a 64-bit key that was drawn elsewhere.

        Args:
            key: An integer in [0, 2^64).

        Raises:
            ParameterTypeError: The key is no integer.
            ParameterValueError: The key does not fit 64 bits.

        Examples:
            >>> Stream.from_key(Stream(0, "weight").key) == Stream(0, "weight")
            True
        """
        stream = cls.__new__(cls)
        stream._key = checks.integer("key", key, low=0, high=2**64 - 1)
        return stream

    @property
    def key(self) -> int:
        """The 64-bit key."""
        return self._key

    def __repr__(self) -> str:
        return f"Stream.from_key({self._key:#018x})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and self._key == other._key

    def __hash__(self) -> int:
        return hash((Stream, self._key))

    def words(self, start: int, count: int) -> Words:
        """Return the words `start` to `start + count`.

        Args:
            start: Index of the first word.
            count: How many words.

        Raises:
            ParameterTypeError: An argument is no integer.
            ParameterValueError: An argument is negative, or the words lie beyond index 2^64.

        Examples:
            >>> Stream(0, "weight").words(0, 2).dtype
            dtype('uint32')
        """
        size = checks.integer("count", count, low=0, high=LAST)
        first = checks.integer("start", start, low=0, high=LAST - size)
        return philox.words((self._key & 0xFFFFFFFF, self._key >> 32), first, size)

    def uniform(
        self,
        shape: Shape,
        low: float = 0.0,
        high: float = 1.0,
        *,
        start: Start = 0,
        out: Floats | None = None,
        threads: int = 1,
    ) -> Floats:
        r"""Draw from $U[low, high)$.

        The numbers are multiples of 2^-24, scaled; `evenflow.random.uniform` specifies the bits.

        Args:
            shape: Shape of the result.
            low: Lower bound, attained.
            high: Upper bound, never attained unless it equals `low`.
            start: Index of the first element in the stream, or an array, one for each entry of the first dimension.
            out: Array to draw into, of this shape, float32 and C-contiguous; by default a new one.
            threads: How many threads may share the work, at least 1.

        Returns:
            float32 numbers: `out`, where it is given.

        Raises:
            ParameterTypeError: An argument has the wrong type, or `out` the wrong dtype.
            ParameterValueError: `low` is above `high`, an argument is NaN, infinite or out of
                range, or `out` has another shape or cannot be written to.

        Examples:
            >>> draws = Stream(0, "weight").uniform((2, 3), -1.0, 1.0)
            >>> draws.shape, bool((abs(draws) <= 1).all())
            ((2, 3), True)
        """
        bottom = checks.real("low", low, low=-_LOCATION, high=_LOCATION)
        top = checks.real("high", high, low=-_LOCATION, high=_LOCATION)
        _ordered(low, high)
        return draw(self._key, uniform, (bottom, top), shape, start, out, threads)

    def normal(
        self,
        shape: Shape,
        mean: float = 0.0,
        std: float = 1.0,
        *,
        start: Start = 0,
        out: Floats | None = None,
        threads: int = 1,
    ) -> Floats:
        r"""Draw from $N(mean, std^2)$.

        `evenflow.random.normal` specifies the bits.

        Args:
            shape: Shape of the result.
            mean: Mean.
            std: Standard deviation (not variance), at least 0.
            start: Index of the first element in the stream, or an array, one for each entry of the first dimension.
            out: Array to draw into, of this shape, float32 and C-contiguous; by default a new one.
            threads: How many threads may share the work, at least 1.

        Returns:
            float32 numbers: `out`, where it is given.

        Raises:
            ParameterTypeError: An argument has the wrong type, or `out` the wrong dtype.
            ParameterValueError: `std` is negative, an argument is NaN, infinite or out of
                range, or `out` has another shape or cannot be written to.

        Examples:
            >>> Stream(0, "weight").normal(10_000, std=0.5).std().round(2)
            np.float32(0.5)
        """
        centre = checks.real("mean", mean, low=-_LOCATION, high=_LOCATION)
        scale = checks.real("std", std, low=0, high=_SCALE)
        return draw(self._key, normal, (centre, scale), shape, start, out, threads)

    def truncated_normal(
        self,
        shape: Shape,
        mean: float = 0.0,
        std: float = 1.0,
        low: float = -2.0,
        high: float = 2.0,
        *,
        start: Start = 0,
        out: Floats | None = None,
        threads: int = 1,
    ) -> Floats:
        r"""Draw from $N(mean, std^2)$ confined to $[low, high]$.

        `evenflow.random.central` specifies the bits where the interval reaches near the mean, and
        `evenflow.random.truncated` those of all others, which are slower and exact to float32's rounding.

        Args:
            shape: Shape of the result.
            mean: Mean before truncation.
            std: Standard deviation before truncation; at 0, all numbers are the mean moved into the interval.
            low: Smallest number, an absolute value and not a count of standard deviations, or -inf.
            high: Largest number, likewise, or inf.
            start: Index of the first element in the stream, or an array, one for each entry of the first dimension.
            out: Array to draw into, of this shape, float32 and C-contiguous; by default a new one.
            threads: How many threads may share the work, at least 1.

        Returns:
            float32 numbers, none outside the interval: `out`, where it is given.

        Raises:
            ParameterTypeError: An argument has the wrong type, or `out` the wrong dtype.
            ParameterValueError: `std` is negative, `low` is above `high`, an argument is NaN or out of range, or
                `out` has another shape or cannot be written to.

        Examples:
            >>> draws = Stream(0, "weight").truncated_normal(1000, low=4.0, high=400.0)
            >>> bool(draws.min() >= 4), bool(draws.mean() < 4.3)
            (True, True)
        """
        centre = checks.real("mean", mean, low=-_LOCATION, high=_LOCATION)
        scale = checks.real("std", std, low=0, high=_SCALE)
        bottom = checks.real("low", low, high=_LARGEST, infinite=True)
        top = checks.real("high", high, low=-_LARGEST, infinite=True)
        _ordered(low, high)
        near = central.parameters(centre, scale, bottom, top)
        if near is not None:
            return draw(self._key, central.central, near, shape, start, out, threads)
        return draw(self._key, truncated_normal, (centre, scale, bottom, top), shape, start, out, threads)


def _ordered(low: float, high: float) -> None:
    """Refuse bounds in the wrong order."""
    if low > high:
        raise ParameterValueError(f"low must not be above high; got low={low!r}, high={high!r}: swap them")
