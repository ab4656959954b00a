"""What runs through a forward in place of a tensor while it is written down."""

import operator
import sys
from collections.abc import Callable
from typing import Any

from torch import fx

from evenflow.norm.surgery.untraceable import Untraceable

IN_PLACE_OPERATORS = (
    "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "imatmul", "iand", "ior", "ixor",
)  # fmt: skip


class StandIn(fx.Proxy):
    """Stands for a tensor, and does not tell what it is: the answer would be frozen."""

    @property  # type: ignore[misc]  # isinstance reads it
    def __class__(self) -> type:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_globals.get("__name__") in ("abc", "_py_abc"):
            frame = frame.f_back
        if not frame.f_globals.get("__name__", "").startswith(("torch.", "evenflow.norm.surgery")):
            raise Untraceable("its forward asks for the type of an input")
        return StandIn


def _in_place(operation: Callable[[Any, Any], Any]) -> Callable[[StandIn, Any], Any]:
    """`torch.fx` would write `a += b` down as `a = a + b`, which leaves the other names of `a` behind."""

    def record(self: StandIn, other: Any) -> Any:
        tracer: fx.Tracer = object.__getattribute__(self, "tracer")
        return tracer.create_proxy("call_function", operation, (self, other), {})

    return record


for _name in IN_PLACE_OPERATORS:
    setattr(StandIn, f"__{_name}__", _in_place(getattr(operator, _name)))
