"""Batch normalisation of whole arrays: which loop does it, in what pieces, on how many threads.

Nothing but time depends on the number of threads: pieces whose sums are added up are cut by the shape alone.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evenflow.kernels.pool import share

Array = NDArray[Any]
Table = NDArray[np.float64]
Loop = Callable[..., None]

WORTH_LOADING = 2**16
"""Elements from which a kernel does it. To compile one takes two seconds where no cache has it."""
# What one block of channels takes of the cache between two phases; that of a core is 1 to 2 MB today.
_BLOCK_BYTES = 2**19
# The elements from which threads share the pieces of an array: to hand over and to meet again, three times, takes 300
# microseconds.
_SHARED = 2**20
# The elements that a thread takes at once, and those that are summed in one piece.
_TASK, _PIECE, _PIECE_ROWS = 2**15, 2**16, 64
# With fewer channels, threads share the values of each.
_CHANNELS_TO_SHARE = 4
_BEFORE, _SUM, _AFTER, _WRITE, _AGAIN = 1, 2, 4, 8, 16
_TABLE_LINES, _LINES = 5, 5
_FIRST, _MEAN, _VARIANCE, _SCALE, _SHIFT = range(5)

# Activations from this one on call for an exponential, so that the backward pass keeps what it has computed.
_FIRST_SLOW = 3

_loaded: dict[tuple[Any, ...], tuple[Loop, Loop] | None] = {}


class Normalizer:
    """Batch normalisation with one activation, of arrays of one kind; from `find_normalizer`.

    Args:
        forward: The loop of the forward pass.
        backward: The loop of the backward pass.
        rows: Whether arrays are (value, channel); otherwise they are (batch, channel, values).
    """

    def __init__(self, forward: Loop, backward: Loop, rows: bool) -> None:
        self._forward, self._backward, self._rows = forward, backward, rows

    def normalize(
        self, x: Array, residual: Array | None, y: Array, table: Table, eps: float, given: bool, threads: int
    ) -> None:
        """Fill `y`, and in `table` the moments where they are not given.

        Args:
            x: The batch, C-contiguous.
            residual: Of its shape, if the loops add one.
            y: The output, of its shape; the batch itself if the loops write there.
            table: From `new_table`.
            eps: Added to the variance.
            given: Whether the moments stand in the table.
            threads: At most so many.
        """
        lines = _lines(x)
        r = x if residual is None else residual
        count = x.size / x.shape[1]

        def call(sums: Table, *part: int) -> None:
            self._forward(x, r, y, table, lines, sums, eps, count, *part)

        # The numbers of a float64 sum are as exact as the sum: about the mean they are small.
        sums = _SUM | _AFTER | (_AGAIN if x.dtype == np.float64 else 0)
        self._sweep(call, x, table, _BEFORE if given else sums, threads)

    def gradients(
        self, x: Array, residual: Array | None, dy: Array, dx: Array, dr: Array | None,
        table: Table, eps: float, given: bool, threads: int,
    ) -> Table:  # fmt: skip
        """Fill the gradients of the input and of the residual, and return those of scale and shift, a line each.

        Args:
            x: The batch, as in the forward pass.
            residual: The residual, as in the forward pass.
            dy: Gradient of the output.
            dx: Filled; not the same memory as another array.
            dr: Filled, where there is a residual.
            table: As the forward pass left it.
            eps: Added to the variance.
            given: Whether the moments were given, so that no gradient goes through them.
            threads: At most so many.
        """
        lines, grads = _lines(x), np.empty((2, x.shape[1]))
        r, s = (x if residual is None else residual), (dx if dr is None else dr)
        count = math.inf if given else x.size / x.shape[1]

        def call(sums: Table, *part: int) -> None:
            self._backward(x, r, dy, dx, s, table, lines, sums, grads, eps, count, *part)

        self._sweep(call, x, table, _BEFORE | _SUM | _AFTER, threads)
        return grads

    def _sweep(self, call: Callable[..., None], x: Array, table: Table, phases: int, threads: int) -> None:
        """Do all phases on blocks of channels, or one after the other on pieces of the values."""
        values, channels = x.shape[0], x.shape[1]
        if not self._rows and channels >= _CHANNELS_TO_SHARE:
            sums, each = np.zeros((2, channels)), x.size // channels
            block = max(1, min(channels, _BLOCK_BYTES // (each * x.itemsize)))
            task = max(block, -(-_TASK // each))
            share(lambda c, d: call(sums, 0, values, c, d, block, phases | _WRITE), channels, threads, task)
            return
        threads = threads if x.size >= _SHARED else 1
        width = x.size // values
        piece = max(_PIECE_ROWS if self._rows else 1, _PIECE // width)
        everything = (0, channels, channels)
        if values <= piece:
            call(np.zeros((2, channels)), 0, values, *everything, phases | _WRITE)
            return
        whole = np.zeros((2, channels))
        if phases & _BEFORE:
            call(whole, 0, 0, *everything, _BEFORE)
        if phases & _SUM:
            pieces = range(0, values, piece)

            def total() -> Table:
                sums = np.zeros((len(pieces), 2, channels))

                def add(first: int, last: int) -> None:
                    for k in range(first, last):
                        call(sums[k], pieces[k], min(pieces[k] + piece, values), *everything, _SUM)

                share(add, len(pieces), threads, slab=1)
                whole_sum: Table = sums.sum(axis=0)
                return whole_sum

            if phases & _AGAIN:
                table[_FIRST] += total()[0] * channels / x.size
            call(total(), 0, 0, *everything, _AFTER)
        share(lambda n, m: call(whole, n, m, *everything, _WRITE), values, threads, piece)


def find_normalizer(
    act: int, keep: bool, rows: bool, element: str, count: int, *, here: bool = False
) -> Normalizer | None:
    """Return what normalises arrays of `count` elements, or None if torch should.

    A small array never loads Numba. It does not use a kernel that a large one has loaded either: another last bit would
    depend on what was computed before.

    Args:
        act: Number of the activation, its place in `evenflow.kernels.activations.NAMES`.
        keep: Whether a residual is added.
        rows: Whether arrays are (value, channel), else (batch, channel, values).
        element: "float32", "float64", or "uint16" for the bits of bfloat16.
        count: How many elements.
        here: Whether the outputs overwrite the inputs.

    Examples:
        >>> find_normalizer(1, False, False, "float32", 100) is None
        True
    """
    if count < WORTH_LOADING:
        return None
    key = (act, keep, rows, element, here)
    if key not in _loaded:
        _loaded[key] = _load(*key) if _compiler_is_there() else None
    loops = _loaded[key]
    return None if loops is None else Normalizer(*loops, rows)


def new_table(channels: int, scale: Array | None, shift: Array | None) -> Table:
    """Return the table that the loops read: a value near those of each channel, its moments, its parameters.

    Args:
        channels: How many.
        scale: One number a channel; None means 1.
        shift: One number a channel; None means 0.
    """
    table = np.zeros((_TABLE_LINES, channels))
    table[_SCALE] = 1.0 if scale is None else scale
    if shift is not None:
        table[_SHIFT] = shift
    return table


def begin_at_first(table: Table, x: Array) -> None:
    """Let the sums be about the first value of each channel, as long as its moments are not known."""
    first = x[0] if x.ndim == 2 else x[0, :, 0]
    table[_FIRST] = (first.astype(np.uint32) << 16).view(np.float32) if first.dtype == np.uint16 else first


def moments_in(table: Table) -> Table:
    """Return the lines of a table with mean and biased variance."""
    return table[_MEAN : _VARIANCE + 1]


@cache
def _compiler_is_there() -> bool:
    try:
        import numba
    except ImportError:
        return False
    settings: Any = numba.config
    return not settings.DISABLE_JIT


def _load(act: int, keep: bool, rows: bool, element: str, here: bool) -> tuple[Loop, Loop]:
    from evenflow.kernels import activations, jit, normalize

    inner = "float64" if element == "float64" else "float32"
    array, table = (f"{element}[:, ::1]" if rows else f"{element}[:, :, ::1]"), "float64[:, ::1]"
    numbers = "float64, float64" + 6 * ", int64"
    stamp = max(jit.stamp(activations), jit.stamp(jit))
    stash = element != "uint16" and (keep or act >= _FIRST_SLOW)
    return (
        jit.compiled(
            normalize.forward(act, keep, here, rows, stamp),
            f"void({3 * (array + ', ')}{table}, {inner}[:, ::1], {table}, {numbers})",
        ),
        jit.compiled(
            normalize.backward(act, keep, stash, rows, stamp),
            f"void({5 * (array + ', ')}{table}, {inner}[:, ::1], {table}, {table}, {numbers})",
        ),
    )


def _lines(x: Array) -> Array:
    return np.empty((_LINES, x.shape[1]), dtype=np.float64 if x.dtype == np.float64 else np.float32)
