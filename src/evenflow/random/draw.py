"""Filling an array with draws: in chunks by a transform, or by its compiled kernel, in one thread or several."""

from collections.abc import Callable
from math import prod

import numpy as np

from evenflow import checks, kernels
from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.kernels.pool import SLAB
from evenflow.random import philox
from evenflow.random.rows import Starts, checked_starts, fill_rows
from evenflow.random.transforms import Floats

Shape = int | tuple[int, ...] | list[int]
Start = int | Starts
Transform = Callable[..., Floats]
Fill = Callable[[Floats, Start], None]
Work = Callable[[int, int], None]

LAST = 2**64
# The temporaries of a chunk stay in the processor's cache.
_CHUNK = 2**16


def draw(
    key: int,
    transform: Transform,
    parameters: tuple[float, ...],
    shape: Shape,
    start: Start,
    out: Floats | None,
    threads: int,
) -> Floats:
    """Return draws from the stream `key` by the kernel that has the name of `transform`, if any, or else by it.

    Args:
        key: 64 bits.
        transform: From words, a whole number of blocks, and `parameters` to as many draws.
        parameters: What the transform takes beside the words, and the kernel beside the address.
        shape: Shape of the result.
        start: Index of the first element in the stream, or an array, one for each entry of the first
            dimension.
        out: Array to draw into, or None for a new one.
        threads: How many threads may share the work.

    Raises:
        ParameterTypeError: An argument has the wrong type, or `out` the wrong dtype.
        ParameterValueError: An argument is out of range, or `out` has another shape or cannot be written to.

    Examples:
        >>> from evenflow.random.uniform import uniform
        >>> draw(0, uniform, (0.0, 1.0), 3, 0, None, 1)
        array([0.39904642, 0.88052016, 0.73571277], dtype=float32)
    """
    sizes = _sizes(shape)
    count = prod(sizes)
    workers = checks.integer("threads", threads, low=1)
    draws = np.empty(sizes, dtype=np.float32) if out is None else _writable(out, sizes)
    kernel = kernels.find(transform.__name__, count)

    def fill(part: Floats, first: Start) -> None:
        if kernel is None:
            _fill(part, key, first, transform, parameters)
        else:
            kernel(part, key, first, *parameters)

    if isinstance(start, np.ndarray):
        work = _by_rows(draws, checked_starts(start, sizes), fill)
    else:
        flat, first = draws.reshape(-1), checks.integer("start", start, low=0, high=LAST - count)
        if kernel is not None:
            kernel(flat, key, first, *parameters, threads=workers)
            return draws
        work = _from(flat, first, fill)
    kernels.share(work, count, workers, slab=max(SLAB, count // (16 * workers) // 4 * 4))
    return draws


def _from(flat: Floats, first: int, fill: Fill) -> Work:
    def work(begin: int, end: int) -> None:
        fill(flat[begin:end], first + begin)

    return work


def _by_rows(draws: Floats, starts: Starts, fill: Fill) -> Work:
    length = max(1, draws.size // max(1, starts.size))
    table = draws.reshape(-1, length)

    def work(begin: int, end: int) -> None:
        # A row belongs to whoever has its first element.
        rows = slice(-(-begin // length), -(-end // length))
        fill_rows(table[rows], starts[rows], fill)

    return work


def _fill(out: Floats, key: int, start: Start, transform: Transform, parameters: tuple[float, ...]) -> None:
    """Transform the words from `start` on, in whole blocks of four; of a long row, a chunk at a time."""
    halves = key & 0xFFFFFFFF, key >> 32
    if isinstance(start, np.ndarray):
        blocks = start[:, None] // 4 + np.arange(out.shape[1] // 4)
        words = philox.blocks(halves, blocks.astype(np.uint64).reshape(-1))
        out[:] = transform(words.reshape(-1), *parameters).reshape(out.shape)
        return
    skipped = start % 4
    for done in range(0, out.size, _CHUNK):
        size = min(_CHUNK, out.size - done)
        whole = -(-(skipped + size) // 4) * 4
        words = philox.words(halves, start - skipped + done, whole)
        out[done : done + size] = transform(words, *parameters)[skipped : skipped + size]


def _sizes(shape: Shape) -> tuple[int, ...]:
    """Return a shape as a tuple of sizes."""
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    return tuple(checks.integer("shape", size, low=0) for size in sizes)


def _writable(out: Floats, sizes: tuple[int, ...]) -> Floats:
    """Refuse an array that cannot take the draws as they are."""
    if not isinstance(out, np.ndarray) or out.dtype != np.float32:
        kind = out.dtype if isinstance(out, np.ndarray) else type(out).__name__
        raise ParameterTypeError(f"out must be a NumPy array of float32; got {kind}: draw without out, then convert")
    if out.shape != sizes:
        raise ParameterValueError(f"out must have the shape of the draws, {sizes}; got {out.shape}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ParameterValueError(
            "out must be C-contiguous, aligned and writable; got an array that is not: draw without out, then copy"
        )
    return out
