"""Memory as compiled loops see it: numbers at an address, counters of several threads, and a way past the cache."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from evenflow.kernels.jit import primitive

_pointer_type: Any = types.CPointer
_LINE = 16
carray: Any = getattr(numba, "carray")  # noqa: B009  # Numba exports it by a star


def _pointer(typing_context: Any, address: Any, like: Any) -> Any:  # noqa: ARG001  # Numba calls it so
    """Make a pointer to numbers of a type, or of the type of an array's, from an address."""
    kind = _pointer_type(like.dtype)

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(arguments[0], context.get_value_type(kind))

    return kind(address, like), build


def _next_of(typing_context: Any, address: Any) -> Any:  # noqa: ARG001
    """Return the number at an address, and leave the one after it there, as if no other thread came between."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        counter = builder.inttoptr(arguments[0], context.get_value_type(_pointer_type(types.int64)))
        return builder.atomic_rmw("add", counter, context.get_constant(types.int64, 1), "seq_cst")

    return types.int64(types.int64), build


def _stream(typing_context: Any, to: Any, at: Any) -> Any:  # noqa: ARG001
    """Copy a line of the cache, 64 bytes, to memory without the cache. `to` is a multiple of 64."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        line: Any = ir.VectorType(ir.FloatType(), _LINE).as_pointer()
        numbers = builder.load(builder.inttoptr(arguments[1], line), align=4)
        store = builder.store(numbers, builder.inttoptr(arguments[0], line), align=4 * _LINE)
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.none(to, at), build


def _settle(typing_context: Any) -> Any:  # noqa: ARG001
    """Let other threads see all that was written without the cache."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), build


pointer: Any = intrinsic(_pointer)
next_of: Any = intrinsic(_next_of)
stream: Any = intrinsic(_stream)
settle: Any = intrinsic(_settle)


@primitive
def pour(numbers: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Fill an array with float32 numbers without the cache, which would read each line first; then `settle`.

    Both are aligned to their numbers.
    """
    at: Any = np.int64(numbers.ctypes.data)
    to: Any = np.int64(out.ctypes.data)
    head: int = min(out.size, (-to & 63) // 4)
    lines = (out.size - head) // _LINE
    for i in range(head):
        out[i] = numbers[i]
    for i in range(lines):
        stream(to + 4 * head + 64 * i, at + 4 * head + 64 * i)
    for i in range(head + _LINE * lines, out.size):
        out[i] = numbers[i]


@primitive
def rows_at(address: int, element: Any, call: Any) -> Any:
    """Return an array of a call as (value, channel)."""
    return carray(pointer(address, element), (call.batch, call.channels))


@primitive
def planes_at(address: int, element: Any, call: Any) -> Any:
    """Return an array of a call as (batch, channel, values)."""
    return carray(pointer(address, element), (call.batch, call.channels, call.values))
