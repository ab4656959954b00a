"""How functions are compiled: never at import, with or without a cache, and to the same bits everywhere."""

import os
from collections.abc import Callable
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, TypeVar

import numba
import numba.extending
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

# No file can be written (RuntimeError), one cannot be read or written, or one was cut off by a crash.
_CACHE_FAILURES = (RuntimeError, OSError, EOFError, UnpicklingError)


def primitive(function: Function) -> Function:
    """Mark a function of scalars that is inlined where it is called.

    Division follows IEEE, as NumPy's does: Python's check for a zero divisor is a branch, and no loop with a branch
    is vectorised. There is no `fastmath`, and LLVM fuses no multiplication with an addition unless it is told to.
    """
    return _inlined(function, set())


def fused(function: Function) -> Function:
    """Mark an inlined function whose products may be added without being rounded before.

    The last bit then depends on the processor.
    """
    return _inlined(function, {"contract"})


def reduction(function: Function) -> Function:
    """Mark an inlined function whose sums may be taken in as many parts as a vector has places.

    The parts depend on the processor, not on anything else.
    """
    return _inlined(function, {"reassoc", "contract", "nsz"})


def _inlined(function: Function, allowed: set[str]) -> Function:
    inline: Any = numba.njit(forceinline=True, error_model="numpy", fastmath=allowed)
    inlined: Function = inline(function)
    return inlined


def by_type(kind: type[np.generic], special: Function, general: Function) -> Function:
    """Return an inlined function that is `special` where its first argument is of a kind, else `general`."""
    wanted = numba.from_dtype(np.dtype(kind))
    return _chosen(lambda first: isinstance(first, kind), lambda first: first == wanted, special, general)


def by_rank(rows: Function, planes: Function) -> Function:
    """Return an inlined function that is `rows` where its first argument has two dimensions, else `planes`."""
    return _chosen(lambda first: first.ndim == 2, lambda first: first.ndim == 2, rows, planes)


def _chosen(
    is_of_values: Callable[[Any], bool], is_of_types: Callable[[Any], bool], special: Function, general: Function
) -> Function:
    def function(first: Any, *others: Any) -> Any:
        return (special if is_of_values(first) else general)(first, *others)

    def run_special(first: Any, *others: Any) -> Any:
        return special(first, *others)

    def run_general(first: Any, *others: Any) -> Any:
        return general(first, *others)

    def pick(first: Any, *_: Any) -> Callable[..., Any]:
        return run_special if is_of_types(first) else run_general

    inlined: Any = function
    numba.extending.overload(inlined, jit_options={"forceinline": True, "error_model": "numpy"}, strict=False)(pick)
    typed: Function = inlined
    return typed


def widest() -> None:
    """Let the loops of the function that calls this use the widest vectors of the processor.

    LLVM prefers half of them on processors that slow down for the whole, which pays for loops of long arithmetic alone.
    """


def _type_of_widest(_: Any) -> Callable[[], Any]:
    return lambda: numba.types.none


def _ask_for_widest(context: Any, builder: Any, *_: Any) -> Any:
    attributes = builder.function.attributes
    # Its own `add` knows no attributes that have a value. Without this one the loop is slower, no more.
    if isinstance(attributes, set):
        set.add(attributes, '"prefer-vector-width"="512"')
    return context.get_dummy_value()


_numba: Any = numba.extending
_numba.type_callable(widest)(_type_of_widest)
_numba.lower_builtin(widest)(_ask_for_widest)


def stamp(module: ModuleType) -> int:
    """Return a number that changes with the source of a module, for loops to hold that inline its functions.

    Numba looks only at the file of a loop and at the numbers that it closes over to tell whether what it kept is stale.
    """
    try:
        return os.stat(str(module.__file__)).st_mtime_ns
    except OSError:
        return 0


def compiled(function: Function, signature: str, *, any_order: bool = False) -> Function:
    """Compile a loop over arrays that runs without the interpreter lock.

    The machine code is kept beside the source file, or in Numba's cache folder, for the next process. Without a
    folder that can be used, it is compiled once in each process.

    Args:
        function: The loop.
        signature: The types of its arguments.
        any_order: Whether sums may be taken in any order, without which they are not vectorised. The last bit then
            depends on the processor.
    """
    try:
        return _compile(function, signature, any_order=any_order, cache=True)
    except _CACHE_FAILURES:
        return _compile(function, signature, any_order=any_order, cache=False)


def callback(function: Callable[[int], None]) -> Any:
    """Compile a function of an address as one that C may call, from any thread; see `compiled`."""
    try:
        return _as_callback(function, cache=True)
    except _CACHE_FAILURES:
        return _as_callback(function, cache=False)


def _as_callback(function: Callable[[int], None], *, cache: bool) -> Any:
    wrapper: Any = numba.cfunc("void(int64)", cache=cache, error_model="numpy")
    return wrapper(function)


def _compile(function: Function, signature: str, *, any_order: bool, cache: bool) -> Function:
    order = {"reassoc", "contract"} if any_order else False
    compiler: Any = numba.njit(nogil=True, cache=cache, error_model="numpy", fastmath=order)
    dispatcher = compiler(function)
    dispatcher.compile(signature)
    dispatcher.disable_compile()
    loop: Function = dispatcher
    return loop
