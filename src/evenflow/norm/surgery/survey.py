"""Follow a whole model: which layers are called where, with what, and what reads their outputs."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.norm.surgery.trace import Trace, has_own_forward, is_hooked, trace
from evenflow.norm.surgery.untraceable import Untraceable

_CONTAINERS = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


@dataclass(frozen=True)
class Call:
    """One call of a module in a graph.

    Attributes:
        node: The node.
        trace: The graph that it is part of.
    """

    node: fx.Node
    trace: Trace

    def module_of(self, node: object) -> nn.Module | None:
        """The module that another node of the same graph calls; None if it calls none."""
        return self.trace.module(node) if isinstance(node, fx.Node) and node.op == "call_module" else None


@dataclass
class Survey:
    """What was found out about a model.

    Attributes:
        calls: The calls of each module, by its `id`.
        read_directly: The `id` of each module that has a parameter or buffer which a forward reads by itself.
        unseen: For the `id` of each module whose forward could not be followed, why.
    """

    calls: dict[int, list[Call]] = field(default_factory=lambda: defaultdict(list))
    read_directly: set[int] = field(default_factory=set)
    unseen: dict[int, str] = field(default_factory=dict)

    def why_hidden(self, module: nn.Module, model: nn.Module) -> str | None:
        """Why it is not known who else uses a module; None if it is."""
        for name, parent in model.named_modules():
            if id(parent) in self.unseen and any(child is module for child in _directly_below(parent)):
                return f"in {name or 'the model'}, {self.unseen[id(parent)]}"
        return None if self.calls[id(module)] else "no forward that was followed calls it"


def survey(model: nn.Module) -> Survey:
    """Follow the forward of a model into every module that is not torch's, as far as it goes.

    A module that cannot be followed is a single step for those around it, and the modules below it are followed on
    their own.
    """
    found = Survey()
    opaque: set[int] = set()
    roots, seen = [model], {id(model)}
    while roots:
        root = roots.pop(0)
        for module in _follow(root, opaque, found):
            if id(module) not in seen:
                seen.add(id(module))
                roots.append(module)
    return found


def _follow(root: nn.Module, opaque: set[int], found: Survey) -> list[nn.Module]:
    """Follow one module; return those that have to be followed on their own."""
    stopped: list[nn.Module] = []
    while True:
        try:
            seen = trace(root, lambda module: _goes_inside(module) and id(module) not in opaque)
        except Untraceable as reason:
            if reason.module is root or reason.module is None:
                found.unseen[id(root)] = str(reason)
                return [*stopped, *filter(_goes_inside, _directly_below(root))]
            opaque.add(id(reason.module))
            stopped.append(reason.module)
            continue
        _note(seen, found)
        return stopped


def _note(seen: Trace, found: Survey) -> None:
    for node in seen.graph.nodes:
        if node.op == "call_module":
            found.calls[id(seen.module(node))].append(Call(node, seen))
        elif node.op == "get_attr":
            found.read_directly.add(id(seen.owner.get_submodule(str(node.target).rpartition(".")[0])))


def _goes_inside(module: nn.Module) -> bool:
    """Whether a module is more than a single step: a Sequential, or one that is not torch's, without hooks."""
    of_torch = type(module).__module__.startswith("torch.") and type(module) is not nn.Sequential
    return not (of_torch or isinstance(module, _BatchNorm) or is_hooked(module) or has_own_forward(module))


def _directly_below(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that a forward can call by name: children, and children of containers among them."""
    for child in module.children():
        yield child
        if isinstance(child, (nn.Sequential, *_CONTAINERS)):
            yield from _directly_below(child)
