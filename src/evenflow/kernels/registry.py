"""Which kernel does a job, if any."""

from typing import Any

from evenflow.kernels.blocks import Draw, anywhere
from evenflow.kernels.drawing import DISTRIBUTIONS

# Measured: to load Numba takes 0.4 s, and to compile a kernel 0.4 to 1 s more where no cache has it. NumPy makes
# this many draws in 4 to 8 ms, so ten layers of this size are not worth the wait.
WORTH_LOADING = 2**19
_loaded: dict[str, Draw | None] = {}


def find(name: str, count: int) -> Draw | None:
    """Return the kernel for `count` draws from the distribution `name`, or None if NumPy should make them.

    A small draw never loads Numba. Once a large one has, small ones use the kernel too, as it is faster for any
    count. Without Numba, or with its compiler switched off, there are no kernels.

    Args:
        name: "uniform", "normal", or "central" for the truncated normal; there is no kernel for any other.
        count: How many draws.

    Returns:
        A function `draw(out, key, start, *parameters, threads=1)` that writes the draws `start` to `start + out.size`
        of the stream `key` to a contiguous float32 array, or, of whole blocks, to a table with a start for each row.
        The parameters are those of the function of that name in `evenflow.random`.
        It may be called from several threads at once.

    Examples:
        >>> find("cauchy", 10**9) is None
        True
    """
    if name not in _loaded:
        if name not in DISTRIBUTIONS or count < WORTH_LOADING:
            return None
        _loaded[name] = _load(name)
    return _loaded[name]


def _load(name: str) -> Draw | None:
    """Compile a kernel, or take it from the cache."""
    try:
        import numba
    except ImportError:
        return None
    settings: Any = numba.config
    if settings.DISABLE_JIT:
        return None
    from evenflow.kernels import draw_rows, drawing, draws, jit, memory

    stamp = max(map(jit.stamp, (drawing, draws, jit, memory)))
    return anywhere(jit.callback(draw_rows.rows_of(DISTRIBUTIONS.index(name), stamp)))
