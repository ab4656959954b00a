"""Which kernel does a job, if any."""

from typing import Any

from evenflow.kernels.blocks import Draw, anywhere

# Measured: to load Numba takes 0.4 s, and to compile a kernel 0.4 to 1 s more where no cache has it. NumPy makes
# this many draws in 4 to 8 ms, so ten layers of this size are not worth the wait.
WORTH_LOADING = 2**19
SIGNATURE = "void(float32[::1], uint64, uint64, float64, float64)"
_NAMES = {"uniform", "normal"}
_loaded: dict[str, Draw | None] = {}


def find(name: str, count: int) -> Draw | None:
    """Return the kernel for `count` draws from the distribution `name`, or None if NumPy should make them.

    A small draw never loads Numba. Once a large one has, small ones use the kernel too, as it is faster for any
    count. Without Numba, or with its compiler switched off, there are no kernels.

    Args:
        name: "uniform" or "normal"; there is no kernel for any other.
        count: How many draws.

    Returns:
        A function `draw(out, key, start, a, b)` that writes the draws `start` to `start + out.size` of the stream
        `key` to a contiguous float32 array. `a` and `b` are the bounds, or the mean and the standard deviation.
        It may be called from several threads at once.

    Examples:
        >>> find("cauchy", 10**9) is None
        True
    """
    if name not in _loaded:
        if name not in _NAMES or count < WORTH_LOADING:
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
    from evenflow.kernels import draws, jit

    return anywhere(jit.compiled(getattr(draws, name), SIGNATURE))
