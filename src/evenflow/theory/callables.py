"""Any elementwise callable, NumPy's or torch's, as a function of float64 arrays."""

import copy
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from evenflow.errors import NonFiniteError, ParameterValueError, TensorShapeError
from evenflow.theory.activations import Array, ArrayFunction
from evenflow.theory.recognition import is_module

# What the code of a callable can be expected to raise on an argument that it is not made for; a warning is
# raised where the user's filters say so.
_REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,
)

_TRIAL = np.array([-1.7, -0.3, 0.4, 2.1])


def name_of(function: Callable[..., Any]) -> str:
    """Return a readable name: a module with its arguments, a function's own, else that of its type."""
    return str(function) if is_module(function) else getattr(function, "__name__", type(function).__name__)


def array_function(function: Callable[..., Any]) -> ArrayFunction:
    """Wrap a callable so that it takes and returns float64 arrays, and is checked at every call.

    It is tried on a NumPy array first, then, if torch has been imported, on a float64 tensor. A module of
    torch's is copied to float64 on the CPU in evaluation mode, so the original keeps its state.

    Raises:
        ParameterValueError: It raises on both, or at a later call; or a value depends on its neighbours, as in softmax.
        TensorShapeError: It returns another shape than it was given.
        NonFiniteError: It returns NaN or infinity.
    """
    refusals = []
    for kind, adapt in _adapters(function):
        try:
            adapted = adapt(function)
            adapted(_TRIAL)
        except _REFUSALS as error:
            refusals.append(f"{type(error).__name__} on a {kind}: {error}")
        else:
            checked = _checked(adapted, name_of(function))
            _require_elementwise(checked, name_of(function))
            return checked
    raise ParameterValueError(
        f"the activation {name_of(function)} must take a float64 array and work on each element; it raised "
        f"{'; '.join(refusals)}. A function of one number can be wrapped in numpy.vectorize"
    )


def _require_elementwise(function: ArrayFunction, name: str) -> None:
    together, again, apart = function(_TRIAL)[:2], function(_TRIAL)[:2], function(_TRIAL[:2])
    if np.array_equal(together, again) and not np.allclose(together, apart, rtol=1e-3, atol=1e-6):
        raise ParameterValueError(
            f"the activation {name} must work on each element by itself; its values change with their neighbours, "
            "so it has no gain"
        )


def _adapters(function: object) -> Iterator[tuple[str, Callable[[Any], ArrayFunction]]]:
    if is_module(function):
        yield "torch tensor", _of_module
        return
    yield "NumPy array", _of_arrays
    if "torch" in sys.modules:
        yield "torch tensor", _of_tensors


def _of_arrays(function: Callable[..., Any]) -> ArrayFunction:
    def on_arrays(points: Array) -> Array:
        with np.errstate(all="ignore"):
            # A copy, because an in-place activation would overwrite the points.
            values = np.asarray(function(points.copy()))
        return values.astype(np.float64, casting="same_kind")

    return on_arrays


def _of_tensors(function: Callable[..., Any]) -> ArrayFunction:
    torch: Any = sys.modules["torch"]

    def on_arrays(points: Array) -> Any:
        with torch.no_grad():
            values = function(torch.from_numpy(points))
            # NumPy has no bfloat16.
            return values.to("cpu", torch.promote_types(values.dtype, torch.float64)).numpy()

    return _of_arrays(on_arrays)


def _of_module(module: Any) -> ArrayFunction:
    return _of_tensors(copy.deepcopy(module).to("cpu", sys.modules["torch"].float64).eval())


def _checked(function: ArrayFunction, name: str) -> ArrayFunction:
    def checked(points: Array) -> Array:
        try:
            values = function(points)
        except _REFUSALS as error:
            span = f"[{points.min():g}, {points.max():g}]"
            raise ParameterValueError(
                f"the activation {name} must be defined everywhere; on {span} it raised {type(error).__name__}: {error}"
            ) from error
        if values.shape != points.shape:
            raise TensorShapeError(
                f"the activation {name} must return the shape it is given, {points.shape}; it returned {values.shape}"
            )
        broken = ~np.isfinite(values)
        if broken.any():
            raise NonFiniteError(
                f"the activation {name} must be finite everywhere; at {points[broken][0]:.6g} it is {values[broken][0]}"
            )
        return values

    return checked
