"""Write down what the forward of one module does, and refuse where the writing would not be the whole truth.

`torch.fx` runs the forward once with stand-ins for its inputs. What it cannot see, it would leave out or freeze:
branches on attributes, contexts such as `no_grad`, random numbers, side effects, questions about the type of an input.
Attributes become guards, to be checked at every call; everything else is a reason to refuse.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

from evenflow.norm.surgery.reads import Guard, Reads
from evenflow.norm.surgery.side_effects import without_side_effects
from evenflow.norm.surgery.stand_in import StandIn
from evenflow.norm.surgery.untraceable import Untraceable
from evenflow.probe.guard import told_as

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Trace:
    """What the forward of a module does, as long as its guards hold.

    Attributes:
        graph: The calls; modules are named by their path below the owner.
        owner: The module.
        arity: The number of inputs that the caller has to give.
        guards: What the forward read to decide what to do.
        inlined: The Sequential modules whose inside is part of the graph.
    """

    graph: fx.Graph
    owner: nn.Module
    arity: int
    guards: tuple[Guard, ...]
    inlined: tuple[nn.Module, ...]

    def module(self, node: fx.Node) -> nn.Module:
        """The module that a `call_module` node calls."""
        return self.owner.get_submodule(str(node.target))

    @property
    def reads_training(self) -> bool:
        """Whether the forward of the owner does something else in training than in evaluation."""
        return any(guard.module is self.owner and guard.name == "training" for guard in self.guards)


def trace(owner: nn.Module, inline: Callable[[nn.Module], bool] | None = None) -> Trace:
    """Write down the forward of `owner`, with the modules that it calls as single steps.

    Args:
        owner: The module. It is left as it was.
        inline: Of which modules the inside is written down too; by default of `Sequential` without hooks.

    Raises:
        Untraceable: The graph would not be the whole truth; it says why, and in which module.
    """
    if has_own_forward(owner):
        raise Untraceable("its forward has been replaced on the instance")
    tracer = _Tracer(inline or _plain_sequential)
    explained = told_as(Untraceable, lambda error: f"its forward cannot be followed ({error})")
    try:
        with explained, without_side_effects(owner), tracer.reads, _no_values():
            graph = tracer.trace(owner)
    except Untraceable as reason:
        reason.module = tracer.inside[-1] if tracer.inside else owner
        raise
    return Trace(graph, owner, tracer.arity, tracer.reads.guards(), tuple(tracer.inlined))


def _plain_sequential(module: nn.Module) -> bool:
    return type(module) is nn.Sequential and not is_hooked(module) and "forward" not in vars(module)


def has_own_forward(module: nn.Module) -> bool:
    """Whether an instance has another forward than its class, which computes something else for all we know."""
    own = vars(module).get("forward")
    return own is not None and not getattr(own, "computes_what_the_class_does", False)


def is_hooked(module: nn.Module) -> bool:
    """Whether somebody looks at what goes in or out of this module."""
    return any(getattr(module, name) for name in _HOOKS)


class _Tracer(fx.Tracer):
    proxy_buffer_attributes = True

    def __init__(self, inline: Callable[[nn.Module], bool]) -> None:
        super().__init__()
        self.reads = Reads()
        self.inlined: list[nn.Module] = []
        self.arity = 0
        self.inside: list[nn.Module] = []
        self._inline = inline
        self._ambient = _ambient()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        if not self._inline(m):
            return True
        if all(m is not known for known in self.inlined):
            self.inlined.append(m)
            self.reads.require(m, "_modules", "forward", *_HOOKS)
        return False

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Follow the forward of the class into a module that is no single step."""
        if self.is_leaf_module(m, ""):
            return super().call_module(m, forward, args, kwargs)
        self.inside.append(m)
        with without_side_effects(m):
            result = type(m).forward(m, *args, **kwargs)
        self.inside.pop()
        return result

    def create_args_for_root(
        self,
        root_fn: Callable[..., Any],
        is_module: bool,  # noqa: ARG002
        concrete_args: Any = None,  # noqa: ARG002
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Stand-ins for the inputs that have no default; the others keep theirs, which the caller may not override."""
        required = list(required_inputs(root_fn))
        self.arity = len(required)
        return root_fn, [self.root, *(self.create_proxy("placeholder", name, (), {}) for name in required)]

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        if _ambient() != self._ambient:
            raise Untraceable("its forward switches gradients, inference mode or autocast")
        return super().create_node(*args, **kwargs)

    def create_arg(self, a: Any) -> Any:
        """Refuse containers that would come out as plain ones."""
        plain = (dict, list, tuple, OrderedDict, torch.Size)
        if isinstance(a, (Mapping, list, tuple)) and type(a) not in plain and not hasattr(a, "_fields"):
            raise Untraceable(f"its forward builds a {type(a).__name__}")
        return super().create_arg(a)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return StandIn(node, self)


def _no_values() -> TorchDispatchMode:
    return _NoValues()  # type: ignore[no-untyped-call]  # torch leaves its modes untyped


class _NoValues(TorchDispatchMode):
    """Refuses everything that computes with real tensors: the result would be frozen."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        raise Untraceable(f"its forward computes {func.overloadpacket.__name__} of tensors that are no input")


def required_inputs(forward: Callable[..., Any]) -> Iterator[str]:
    """The inputs of a forward that have no default.

    Raises:
        Untraceable: It takes any number of them.
    """
    for name, parameter in list(inspect.signature(forward).parameters.items())[1:]:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise Untraceable("its forward takes any number of inputs")
        if parameter.default is parameter.empty:
            if parameter.kind is parameter.KEYWORD_ONLY:
                raise Untraceable(f"its forward needs the keyword {name}")
            yield name


def _ambient() -> tuple[bool, ...]:
    autocast = (torch.is_autocast_enabled(device) for device in ("cpu", "cuda"))
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled(), *autocast
