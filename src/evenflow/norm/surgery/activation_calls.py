"""Which activation a module or a node of a graph applies, and why a layer cannot apply it itself."""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from evenflow.norm.activations import ACTIVATIONS
from evenflow.probe.activations import recognise

_MODULES: dict[type[nn.Module], Callable[[Any], tuple[str, Mapping[str, Any]]]] = {
    nn.ReLU: lambda _: ("relu", {}),
    nn.ReLU6: lambda _: ("relu6", {}),
    nn.LeakyReLU: lambda module: ("leaky_relu", {"negative_slope": module.negative_slope}),
    nn.SiLU: lambda _: ("silu", {}),
    nn.GELU: lambda module: ("gelu", {"approximate": module.approximate}),
    nn.Sigmoid: lambda _: ("sigmoid", {}),
    nn.Tanh: lambda _: ("tanh", {}),
    nn.Hardswish: lambda _: ("hardswish", {}),
    nn.ELU: lambda module: ("elu", {"alpha": module.alpha}),
    nn.CELU: lambda module: ("celu", {"alpha": module.alpha}),
    nn.SELU: lambda _: ("selu", {}),
    nn.Mish: lambda _: ("mish", {}),
    nn.Hardsigmoid: lambda _: ("hardsigmoid", {}),
    nn.Softplus: lambda module: ("softplus", {"beta": module.beta}),
}
_DEFAULT_SLOPE = 0.01


@dataclass(frozen=True)
class ActivationCall:
    """An activation that was recognised.

    Attributes:
        name: Its name.
        refusal: Why a normalisation layer cannot apply it itself; None if it can.
    """

    name: str
    refusal: str | None = None


def of_module(module: nn.Module) -> ActivationCall | None:
    """The activation that a module of torch applies; None for any other module."""
    describe = _MODULES.get(type(module))
    if describe is None:
        return None
    name, keywords = describe(module)
    return _judge(name, (), keywords)


def of_node(node: fx.Node, owner: nn.Module) -> ActivationCall | None:
    """The activation that a node applies to its first argument; None if it does something else."""
    if node.op == "call_module":
        return of_module(owner.get_submodule(str(node.target)))
    name = function_name(node)
    return None if name is None else _judge(name, node.args, node.kwargs)


def function_name(node: fx.Node) -> str | None:
    """The name of the torch function, operator or tensor method that a node calls; None for anything else."""
    if node.op == "call_method":
        return str(node.target)
    if node.op != "call_function" or isinstance(node.target, str):
        return None
    home = getattr(node.target, "__module__", None) or "torch"
    known = home.split(".")[0] == "torch" or home in (operator.__name__, "_operator")
    return getattr(node.target, "__name__", None) if known else None


def _judge(name: str, args: Sequence[Any], keywords: Mapping[str, Any]) -> ActivationCall | None:
    known = recognise(name, args, keywords)
    if known is None:
        return None
    activation, parameter = known
    if activation == "leaky_relu" and parameter != _DEFAULT_SLOPE:
        return ActivationCall(activation, f"its slope is {parameter:g}; a layer can apply leaky_relu of slope 0.01")
    if activation not in ACTIVATIONS:
        return ActivationCall(activation, f"no layer can apply {activation} itself, only {', '.join(ACTIVATIONS)}")
    return ActivationCall(activation)
