"""A forward in which BatchNorm, residual and activation are one call, and the way back to the original forward."""

import inspect
import linecache
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any, Self

from torch import Tensor, fx, nn
from torch.nn.modules import module as torch_module

from evenflow.norm.activations import activate
from evenflow.norm.surgery.activation_calls import of_module
from evenflow.norm.surgery.layers import THEIRS
from evenflow.norm.surgery.pairs import Pair
from evenflow.norm.surgery.reads import Guard
from evenflow.norm.surgery.trace import Trace, is_hooked


def normalize_and_activate(
    norm: nn.Module,
    input: Tensor,  # noqa: A002 - torch's name
    residual: Tensor | None,
    module: nn.Module | None,
    activation: str,
    in_place: bool,
) -> Tensor:
    """Run a BatchNorm, the addition of a residual and an activation, in one call where nobody looks in between.

    Args:
        norm: The layer that stands there now.
        input: Its input.
        residual: What is added to its output; None if nothing is.
        module: The module that applies the activation; None if a function does.
        activation: Its name.
        in_place: Whether the addition writes to the output of the layer.
    """
    if _can_be_one(norm, input, residual, module, activation):
        return norm(input, residual, activation=activation)  # type: ignore[no-any-return]  # a module returns Any
    output: Tensor = norm(input)
    if residual is not None:
        output = output.add_(residual) if in_place else output + residual
    return activate(activation, output) if module is None else module(output)


def _can_be_one(norm: nn.Module, x: Tensor, residual: Tensor | None, module: nn.Module | None, activation: str) -> bool:
    if type(norm) not in THEIRS or _applies_one(norm) or is_hooked(norm):
        return False
    if residual is not None and (residual.shape != x.shape or residual.dtype != x.dtype):
        return False
    if torch_module._has_any_global_hook():
        return False
    if module is None:
        return True
    call = of_module(module)
    return call is not None and call.refusal is None and call.name == activation and not is_hooked(module)


def _applies_one(norm: nn.Module) -> bool:
    own: object = norm.activation
    return own is not None


class Program:
    """Python code that a graph was turned into.

    Attributes:
        source: The code, a function named `forward`.
        names: The objects that it refers to.
    """

    def __init__(self, source: str, names: dict[str, Any]) -> None:
        self.source, self.names = source, names
        file = f"<evenflow accelerate_ {id(self):x}>"
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        scope = dict(names)
        exec(compile(source, file, "exec"), scope)
        self.run: Callable[..., Any] = scope["forward"]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """It never changes, so that a copy of a model can share it."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Modules of Python go by their name, everything else as it is."""
        modules = {name: value.__name__ for name, value in self.names.items() if isinstance(value, ModuleType)}
        others = {name: value for name, value in self.names.items() if name not in modules}
        return _load, (self.source, others, modules)


def _load(source: str, names: dict[str, Any], modules: dict[str, str]) -> Program:
    from importlib import import_module

    return Program(source, names | {name: import_module(target) for name, target in modules.items()})


class Variant:
    """A fused forward, and when it does what the original would do.

    Attributes:
        program: The code.
        arity: The number of inputs that it takes.
        guards: What the original forward read to decide what to do.
    """

    def __init__(self, program: Program, arity: int, guards: Sequence[Guard]) -> None:
        self.program, self.arity, self.guards = program, arity, tuple(guards)

    def fits(self, inputs: Sequence[Any]) -> bool:
        """Whether a call with these inputs may use it."""
        if len(inputs) != self.arity or any(value is None for value in inputs):
            return False
        return all(guard.holds() for guard in self.guards)


class FusedForward:
    """Takes the place of the forward of one module, as an attribute of that instance.

    A call that it was not made for goes to the forward of the class.
    """

    computes_what_the_class_does = True

    def __init__(self, owner: nn.Module, variants: Sequence[Variant]) -> None:
        self.owner, self.variants = owner, tuple(variants)

    @property
    def __code__(self) -> CodeType:
        """Where the original is written, for tools that tell it."""
        code: CodeType = inspect.unwrap(type(self.owner).forward).__code__
        return code

    @property
    def __signature__(self) -> inspect.Signature:
        """The inputs of the original."""
        signature = inspect.signature(type(self.owner).forward)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __call__(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the first variant that fits, or else the original."""
        if not keywords:
            for variant in self.variants:
                if variant.fits(inputs):
                    return variant.program.run(self.owner, *inputs)
        return type(self.owner).forward(self.owner, *inputs, **keywords)


def fuse(trace: Trace, pairs: Sequence[Pair]) -> Variant:
    """Rewrite the graph of a trace so that each pair is one call."""
    for pair in pairs:
        _rewrite(trace.graph, pair)
    for node in trace.graph.nodes:
        node.type = None  # an annotation may name what the code does not know
    code = trace.graph.python_code("self")
    return Variant(Program(code.src, dict(code.globals)), trace.arity, trace.guards)


def _rewrite(graph: fx.Graph, pair: Pair) -> None:
    with graph.inserting_before(pair.addition or pair.norm):
        norm = graph.get_attr(str(pair.norm.target))
        by_module = pair.activation.op == "call_module"
        module = graph.get_attr(str(pair.activation.target)) if by_module else None
        arguments = (norm, pair.norm.args[0], pair.residual, module, pair.name, pair.adds_in_place)
        fused = graph.call_function(normalize_and_activate, arguments)
    pair.activation.replace_all_uses_with(fused)
    for node in (pair.activation, pair.addition, pair.norm):
        if node is not None:
            graph.erase_node(node)
