"""Batch normalisation of whole arrays: which loop does it, in what pieces, on how many threads.

Nothing but time depends on the number of threads: pieces whose sums are added up are cut by the shape alone.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from evenflow.kernels.call import AFTER, AGAIN, BEFORE, LINES, SUM, WRITE, Call
from evenflow.kernels.team import run_together

WORTH_LOADING = 2**14
"""Elements from which a kernel does it. To compile one takes two seconds where no cache has it."""
# What one block of channels takes of the cache between two phases; that of a core is 1 to 2 MB today.
_BLOCK_BYTES = 2**19
# Less than a page in one stretch takes longer than to read the block from farther away.
_PAGE_BYTES = 2**12
# The elements that a thread takes at once, and those that are summed in one piece.
_TASK, _PIECE, _PIECE_ROWS = 2**15, 2**16, 64
# With fewer channels, threads share the values of each. Rows are read in stretches of at least so many channels.
_CHANNELS_TO_SHARE, _STRETCH = 4, 64
_BYTES = 8

# Activations from this one on call for an exponential, so that the backward pass keeps what it has computed.
_FIRST_SLOW = 3

_loaded: dict[tuple[Any, ...], "Normalizer | None"] = {}


class Work:
    """A loop, and how it goes over arrays of one size. Calls are used again: to make one takes as long as small work.

    Args:
        loop: A compiled callback.
        sizes: What stands in each call.
        stages: Phases that are done one after the other: which, in how many tasks, on how many threads.
        memory: Numbers to work in, in float64.
    """

    __slots__ = ("_loop", "_memory", "_sizes", "_spare", "_stages")

    def __init__(self, loop: Any, sizes: dict[str, float], stages: Iterable[tuple[int, int, int]], memory: int) -> None:
        self._loop, self._sizes, self._stages, self._memory = loop, sizes, tuple(stages), memory
        self._spare: list[Call] = []

    def take(self) -> Call:
        """Return a call for `do`, to be filled with addresses and parameters; all of them, as it may have been used."""
        try:
            return self._spare.pop()
        except IndexError:  # between a question and an answer another thread may come
            return self._new()

    def do(self, call: Call) -> None:
        """Run the loop, and take the call back."""
        for phases, tasks, threads in self._stages:
            call.phases, call.tasks, call.taken, call.done = phases, tasks, 0, 0
            run_together(self._loop, call.address, threads)
        call.kept = None
        self._spare.append(call)

    def _new(self) -> Call:
        memory = np.empty(self._memory)
        call = Call(memory, **self._sizes)
        call.first = memory.ctypes.data
        call.lines = call.first + _BYTES * call.channels
        call.sums = call.lines + _BYTES * LINES * call.channels
        return call


@dataclass(frozen=True, slots=True)
class Normalizer:
    """Batch normalisation with one activation, of arrays of one kind; from `find_normalizer`. Arrays are C-contiguous.

    Attributes:
        rows: Whether arrays are (value, channel), so that `values` is 1; else they are (batch, channel, values).
    """

    rows: bool
    _loops: tuple[Any, Any]
    _exact: bool
    _bytes: int

    def forward(self, batch: int, channels: int, values: int, *, given: bool, threads: int) -> Work:
        """Return the work that fills `y`, unless moments are given `moments` too, and moves the running statistics.

        A call wants `x`, `r`, `y` and parameters. Without a residual `x` stands in its place, and where the
        loop overwrites the batch, in that of `y`.

        Args:
            batch: Size of the arrays in their first dimension.
            channels: In the second.
            values: In the third.
            given: Whether the moments are given.
            threads: At most so many.
        """
        sums = 0 if given else SUM | AFTER
        # The numbers of a float64 sum are as exact as the sum: about the mean they are small.
        again = AGAIN if sums and self._exact else 0
        return self._work(self._loops[0], (batch, channels, values), BEFORE | sums | again | WRITE, given, threads)

    def backward(self, batch: int, channels: int, values: int, *, given: bool, threads: int) -> Work:
        """Return the work that fills `dx`, `dr`, `d_weight` and `d_bias`.

        A call wants `x`, `r`, `dy`, parameters, and moments as the forward pass left them. Without a residual,
        `x` stands in its place and `dx` in that of `dr`. No other two arrays may be the same memory. No gradient goes
        through moments that are given.
        """
        return self._work(self._loops[1], (batch, channels, values), BEFORE | SUM | AFTER | WRITE, given, threads)

    def _work(self, loop: Any, sizes: tuple[int, int, int], phases: int, given: bool, threads: int) -> Work:
        """Do all phases on blocks of channels, or one after the other on pieces of the values."""
        batch, channels, values = sizes
        each, block = batch * values, channels
        piece = max(_PIECE_ROWS if self.rows else 1, _PIECE // (channels * values))
        by_channel = batch <= piece if self.rows else channels >= _CHANNELS_TO_SHARE
        if by_channel:
            part = -(-channels // threads)
            cached = max(_BLOCK_BYTES // (each * self._bytes), _PAGE_BYTES // (values * self._bytes))
            block = max(_STRETCH, part) if self.rows else max(1, min(part, cached))
            task = max(block, -(-_TASK // each))
            tasks, pieces = -(-channels // task), 1
        else:
            task, pieces = piece, -(-batch // piece)
            tasks = pieces
        stages = [phases]
        if pieces > 1:
            wanted = (BEFORE, SUM | AGAIN, SUM | AFTER, WRITE)
            stages = [stage for stage in wanted if stage & ~SUM & phases]
        numbers = {
            "batch": batch, "channels": channels, "values": values, "count": math.inf if given else each,
            "by_channel": by_channel, "task": task, "block": block, "pieces": pieces,
        }  # fmt: skip
        split = [(stage, 1 if stage == BEFORE else tasks) for stage in stages]
        memory = channels * (1 + LINES + 2 * pieces)
        return Work(loop, numbers, ((stage, many, min(threads, many)) for stage, many in split), memory)


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
    return _loaded[key]


@cache
def _compiler_is_there() -> bool:
    try:
        import numba
    except ImportError:
        return False
    settings: Any = numba.config
    return not settings.DISABLE_JIT


def _load(act: int, keep: bool, rows: bool, element: str, here: bool) -> Normalizer:
    from evenflow.kernels import activations, call, elements, jit, memory, normalize, normalize_back, per_channel

    exact = element == "float64"
    stamp = max(map(jit.stamp, (activations, call, elements, jit, memory, per_channel)))
    stash = element != "uint16" and (keep or act >= _FIRST_SLOW)
    kind = np.dtype(element).type
    kinds = (kind, np.float64 if exact else np.float32)
    loops = (
        jit.callback(normalize.forward(act, keep, here, rows, kinds, stamp)),
        jit.callback(normalize_back.backward(act, keep, stash, rows, kinds, stamp)),
    )
    return Normalizer(rows, loops, exact, np.dtype(kind).itemsize)
