"""Find each BatchNorm whose output an activation alone reads, after a residual was added or not."""

from dataclasses import dataclass

from torch import fx

from evenflow.norm.surgery.activation_calls import function_name, of_node
from evenflow.norm.surgery.layers import is_batch_norm, why_not_fusible
from evenflow.norm.surgery.stand_in import IN_PLACE_OPERATORS
from evenflow.norm.surgery.trace import Trace, is_hooked

_ADDS = {"add", "add_", "iadd"}
_ADDS_IN_PLACE = {"add_", "iadd"}


@dataclass(frozen=True)
class Pair:
    """One call of a BatchNorm and the activation behind it.

    Attributes:
        norm: The node of the BatchNorm.
        activation: The node of the activation.
        name: The activation's name.
        addition: The node between them that adds a residual; None if there is none.
    """

    norm: fx.Node
    activation: fx.Node
    name: str
    addition: fx.Node | None = None

    @property
    def residual(self) -> fx.Node | None:
        """What is added."""
        if self.addition is None:
            return None
        return next(node for node in self.addition.all_input_nodes if node is not self.norm)

    @property
    def adds_in_place(self) -> bool:
        """Whether the sum is written over the output of the BatchNorm."""
        return self.addition is not None and function_name(self.addition) in _ADDS_IN_PLACE


@dataclass(frozen=True)
class Alone:
    """One call of a BatchNorm that stays what it is.

    Attributes:
        norm: The node of the BatchNorm.
        reason: Why.
    """

    norm: fx.Node
    reason: str


class _Stays(Exception):  # noqa: N818  # a decision, and the reason for it
    """A BatchNorm stays what it is."""


def find_pairs(trace: Trace) -> list[Pair | Alone]:
    """Decide about each call of a BatchNorm in a graph, in order; a sum of two of them is given to the later one."""
    taken: set[fx.Node] = set()
    decided: list[Pair | Alone] = []
    calls = [node for node in trace.graph.nodes if node.op == "call_module" and is_batch_norm(trace.module(node))]
    for node in reversed(calls):
        try:
            found = _pair(node, trace, taken)
        except _Stays as reason:
            decided.append(Alone(node, str(reason)))
            continue
        if found.addition is not None:
            taken.add(found.addition)
        decided.append(found)
    return decided[::-1]


def _pair(node: fx.Node, trace: Trace, taken: set[fx.Node]) -> Pair:
    layer = trace.module(node)
    if (reason := why_not_fusible(layer)) is not None:
        raise _Stays(reason)
    if is_hooked(layer):
        raise _Stays("a hook looks at it")
    if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
        raise _Stays("it is called with more than its input")
    user = _only_user(node, "its output")
    if function_name(user) in _ADDS:
        return _with_residual(node, user, trace, taken)
    return Pair(node, user, _activation(node, user, trace))


def _with_residual(node: fx.Node, addition: fx.Node, trace: Trace, taken: set[fx.Node]) -> Pair:
    if addition in taken:
        raise _Stays("the sum behind it is computed by the BatchNorm of the other term")
    others = [operand for operand in addition.args if operand is not node]
    if len(addition.args) != 2 or addition.kwargs or len(others) != 1 or not isinstance(others[0], fx.Node):
        raise _Stays(f"{_told(addition)} follows, which adds something else than one residual")
    if function_name(addition) in _ADDS_IN_PLACE and addition.args[0] is not node:
        raise _Stays(f"its output is added in place to that of {_told(others[0])}")
    user = _only_user(addition, "the sum behind it")
    name = _activation(addition, user, trace)
    _require_waiting(node, addition, trace)
    return Pair(node, user, name, addition)


def _only_user(node: fx.Node, what: str) -> fx.Node:
    if len(node.users) != 1:
        raise _Stays(f"{what} is read {len(node.users)} times" if node.users else f"{what} is not read")
    (user,) = node.users
    if user.op == "output":
        raise _Stays(f"{what} leaves the module that calls it")
    return user


def _activation(read: fx.Node, user: fx.Node, trace: Trace) -> str:
    call = of_node(user, trace.owner)
    if call is None or user.args[:1] != (read,) or user.all_input_nodes != [read]:
        raise _Stays(f"{_told(user)} follows, which is no activation")
    if call.refusal is not None:
        raise _Stays(f"{call.name} follows, and {call.refusal}")
    if user.op == "call_module" and is_hooked(trace.module(user)):
        raise _Stays(f"a hook looks at the activation {user.target}")
    return call.name


def _require_waiting(node: fx.Node, addition: fx.Node, trace: Trace) -> None:
    """Refuse a BatchNorm that cannot run as late as the sum."""
    between, inside = [], False
    for other in trace.graph.nodes:
        if other is addition:
            break
        if inside:
            between.append(other)
        inside = inside or other is node
    norm = trace.module(node)
    if any(other.op == "call_module" and trace.module(other) is norm for other in between):
        raise _Stays("it is called again before its output is used")
    read = node.args[0]
    shared = isinstance(read, fx.Node) and len(read.users) > 1
    if shared and any(_may_write(other, trace) for other in between):
        raise _Stays("its input may be overwritten before its output is used")


def _may_write(node: fx.Node, trace: Trace) -> bool:
    if node.op == "call_module":
        module = trace.module(node)
        return not type(module).__module__.startswith(("torch.nn.", "evenflow.")) or bool(
            getattr(module, "inplace", False)
        )
    name = function_name(node)
    if name is None:
        return node.op not in ("placeholder", "get_attr")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or name in IN_PLACE_OPERATORS or bool(node.kwargs.get("inplace"))


def _told(node: object) -> str:
    if not isinstance(node, fx.Node):
        return repr(node)
    return node.target if isinstance(node.target, str) else function_name(node) or node.name
