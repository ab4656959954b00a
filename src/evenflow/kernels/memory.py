"""Memory as compiled loops see it: numbers at an address, and counters that several threads advance."""

from typing import Any

import numba
from numba import types
from numba.extending import intrinsic

from evenflow.kernels.jit import primitive

_pointer_type: Any = types.CPointer
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


pointer: Any = intrinsic(_pointer)
next_of: Any = intrinsic(_next_of)


@primitive
def rows_at(address: int, element: Any, call: Any) -> Any:
    """Return an array of a call as (value, channel)."""
    return carray(pointer(address, element), (call.batch, call.channels))


@primitive
def planes_at(address: int, element: Any, call: Any) -> Any:
    """Return an array of a call as (batch, channel, values)."""
    return carray(pointer(address, element), (call.batch, call.channels, call.values))
