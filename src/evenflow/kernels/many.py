"""One call for many arrays: which compiled loop does it, and how threads share it."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.pool import SLAB, share

Addresses = NDArray[np.uint64]
Lengths = NDArray[np.int64]
Many = Callable[..., Any]

# To load Numba and its cached loops takes half a second. torch needs about 2 ms more for so many tensors, or so many
# numbers, so that some hundred steps of training bring it back.
WORTH_LOADING = 2**19
_CALL = 2**10
"""Numbers that are read in the time of one of torch's calls."""

_SHARED = 2**21
"""Fewer numbers are read in the time that a busy machine takes to start a second thread."""

_BITS = {"float32": np.int32, "float64": np.int64}


def worth_loading(tensors: int, numbers: int) -> bool:
    """Tell whether the loops are worth loading. The answer depends on nothing that happened before.

    Examples:
        >>> worth_loading(tensors=10, numbers=10**4), worth_loading(tensors=2000, numbers=10**4)
        (False, True)
    """
    return numbers + _CALL * tensors >= WORTH_LOADING


@cache
def loops() -> dict[str, Many] | None:
    """Return the loops by name; None without Numba, or with its compiler switched off."""
    try:
        import numba
    except ImportError:
        return None
    settings: Any = numba.config
    if settings.DISABLE_JIT:
        return None
    return {name: _Loop(name) for name in ("squares", "magnitudes", "peaks", "scale")}


class _Loop:
    """One loop for both widths of numbers, compiled when it is first called with one of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.compiled: dict[str, Many] = {}

    def __call__(self, addresses: Addresses, lengths: Lengths, kind: str, threads: int, factor: float = 0.0) -> Any:
        """Run over all arrays, cut into pieces that several threads share.

        Args:
            addresses: Where each array begins.
            lengths: How many numbers each has.
            kind: "float32" or "float64".
            threads: At most so many threads.
            factor: For "scale".

        Returns:
            A number for each array, or None from "scale".
        """
        loop = self.compiled.get(kind) or self.compiled.setdefault(kind, _compile(self.name, kind))
        size = np.dtype(kind).itemsize
        owner, starts, pieces = _cut(lengths)
        begins = addresses[owner] + starts * np.uint64(size)
        like = np.empty(0, dtype=_BITS[kind] if self.name == "peaks" else kind)
        found = np.zeros(pieces.size, dtype=like.dtype if self.name == "peaks" else np.float64)
        ends = np.cumsum(pieces)

        def work(start: int, stop: int) -> None:
            # A piece belongs to whoever has its last number.
            part = slice(int(np.searchsorted(ends, start, "right")), int(np.searchsorted(ends, stop, "right")))
            loop(begins[part], pieces[part], like, factor if self.name == "scale" else found[part])

        count = int(ends[-1]) if ends.size else 0
        share(work, count, threads if count > _SHARED else 1)
        return self._joined(found, owner, lengths.size)

    def _joined(self, found: NDArray[Any], owner: NDArray[np.int64], count: int) -> Any:
        """Bring the pieces of an array together, always in the same order."""
        if self.name == "scale":
            return None
        joined = found
        if not np.array_equal(owner, np.arange(count)):
            joined = np.zeros(count, dtype=found.dtype)
            join: Any = np.maximum if self.name == "peaks" else np.add
            join.at(joined, owner, found)
        return joined.view(np.float32 if found.dtype == np.int32 else np.float64)


def _cut(lengths: Lengths) -> tuple[NDArray[np.int64], NDArray[np.uint64], Lengths]:
    """Cut arrays into pieces of at most a slab: whose each is, where in it, and how long.

    Examples:
        >>> [part.tolist() for part in _cut(np.array([5, 0, SLAB + 1]))]
        [[0, 2, 2], [0, 0, 262144], [5, 262144, 1]]
    """
    everyone = np.arange(lengths.size)
    if lengths.size and lengths.min() > 0 and lengths.max() <= SLAB:
        return everyone, np.zeros(lengths.size, dtype=np.uint64), lengths
    counts = -(-lengths // SLAB)
    owner = np.repeat(everyone, counts)
    first = np.cumsum(counts) - counts
    starts = (np.arange(owner.size) - first[owner]) * SLAB
    return owner, starts.astype(np.uint64), np.minimum(lengths[owner] - starts, SLAB)


def _compile(name: str, kind: str) -> Many:
    from evenflow.kernels import jit, many_loops

    numbers = np.dtype(_BITS[kind]).name if name == "peaks" else kind
    last = {"scale": "float64", "peaks": f"{numbers}[::1]"}.get(name, "float64[::1]")
    signature = f"void(uint64[::1], int64[::1], {numbers}[::1], {last})"
    loop: Many = jit.compiled(getattr(many_loops, name), signature, any_order=name != "scale")
    return loop
