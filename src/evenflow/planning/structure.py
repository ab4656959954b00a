"""What the modules alone tell of a network, without a batch: their kinds and the order of their registration."""

import math
import re
from collections.abc import Callable, Iterator
from itertools import groupby

from torch import Tensor, nn

from evenflow.errors import ParameterValueError, TensorShapeError, UnknownActivationError, UnknownLayerError
from evenflow.planning.layer import Layer, Network
from evenflow.theory import Fans, fans
from evenflow.theory.activation_lookup import activation

NameOf = Callable[[Tensor | None], str | None]

WITHOUT_BATCH = (
    "made without a batch, from the modules in the order of their registration: functions between them, residual sums "
    "and the size of the input are guessed or not seen; pass a batch to follow the data"
)

# How the last projection of a residual branch is called in the transformers that are in use.
BRANCH_END = re.compile(
    r"(^|\.)(self_attn\.out_proj|multihead_attn\.out_proj|c_proj|out_proj|o_proj|down_proj|output\.dense|fc2|linear2|lin2|wo)$"
)

# Attributes that hold the parameter of an activation's module.
PARAMETERS = {"LeakyReLU": "negative_slope", "ELU": "alpha", "CELU": "alpha", "Softplus": "beta", "Softshrink": "lambd",
              "Hardshrink": "lambd"}  # fmt: skip


def network_of_modules(model: nn.Module) -> Network:
    """Describe a model by its modules."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    layers: list[Layer] = []
    for name, module in _leaves(model):
        layer = layer_of_module(name, module, lambda tensor: None if tensor is None else names.get(id(tensor)))
        if layer is not None:
            layer.sources = (len(layers) - 1,) if layers else ()
            _follow_up(layers, layer)
            layers.append(layer)
        elif layers and layers[-1].activation is None:
            layers[-1].activation = activation_of_module(module)
    _mark_feed_forward(model, {layer.name: layer for layer in layers})
    network = Network(model, layers, notes=[WITHOUT_BATCH])
    _mark_last(layers)
    _mark_branches(model, layers)
    _add_up_tables(network)
    return network


def _add_up_tables(network: Network) -> None:
    """Tables that are registered one after the other are taken to be added up, as those of tokens and positions are."""
    for is_table, group in groupby(enumerate(network.layers), key=lambda pair: pair[1].role == "embedding"):
        indices = [index for index, _ in group]
        if is_table and len(indices) > 1:
            network.summed[tuple(indices)] = tuple((index,) for index in indices)


def _leaves(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module that works as one layer, without the parts of attention, recurrent and parametrised layers."""
    inside = ""
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        inside = ""
        whole = isinstance(module, nn.MultiheadAttention | nn.RNNBase) or hasattr(module, "parametrizations")
        if whole:
            inside = f"{name}." if name else ""
        if whole or not any(True for _ in module.children()):
            yield name, module


def layer_of_module(name: str, module: nn.Module, name_of: NameOf) -> Layer | None:
    """A layer for a module that holds weights of its own; None for any other."""
    held = [*module.parameters(recurse=False)]
    if hasattr(module, "parametrizations") or isinstance(module, nn.MultiheadAttention):
        held = [*module.parameters()]
    names = [found for tensor in held if (found := name_of(tensor)) is not None]
    if not names or isinstance(module, nn.PReLU):
        return None
    by_dim = {found: tensor.dim() for tensor in held if (found := name_of(tensor)) is not None}
    names.sort(key=lambda found: by_dim[found] < 2)
    role = _role(module, max(by_dim.values()))
    return (
        None
        if role is None
        else Layer(
            name=name, kind=type(module).__name__, role=role, module=module, parameters=tuple(names), fans=_fans(module)
        )
    )


def _role(module: nn.Module, dimensions: int) -> str | None:
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(module, nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
        return "opaque"
    if "norm" in type(module).__name__.lower() and dimensions == 1:
        return "norm"
    return "weight" if _fans(module) is not None else None


def _fans(module: nn.Module) -> Fans | None:
    try:
        return fans(module)
    except (UnknownLayerError, ParameterValueError, TensorShapeError):
        return None


def activation_of_module(module: nn.Module) -> tuple[str, float | None] | None:
    """Name and parameter of the activation that a module without weights is; None for any other module."""
    kind = type(module).__name__
    if isinstance(module, nn.Identity):
        return None
    attribute = PARAMETERS.get(kind)
    try:
        param = float(getattr(module, attribute)) if attribute else None
        known = "prelu" if isinstance(module, nn.PReLU) else kind.removesuffix("Activation").removeprefix("New")
        activation(known, param)
    except (UnknownActivationError, ParameterValueError):
        return None
    name = "gelu_tanh" if getattr(module, "approximate", "none") == "tanh" else known
    return activation(name, param).name.partition("(")[0], param


def _mark_feed_forward(model: nn.Module, layers: dict[str, Layer]) -> None:
    """Torch's transformer layers hold their activation as a function, and register the first linear map apart."""
    for name, module in model.named_modules():
        if isinstance(module, nn.TransformerEncoderLayer | nn.TransformerDecoderLayer):
            first = layers[f"{name}.linear1" if name else "linear1"]
            function = module.activation
            known = getattr(function, "__name__", "") or type(function).__name__.lower()
            first.activation = (known, None) if known in ("relu", "gelu") else None


def _follow_up(layers: list[Layer], layer: Layer) -> None:
    """What a layer means to the one before it."""
    if layers and layer.role == "norm" and layers[-1].role == "weight" and layers[-1].activation is None:
        layers[-1].normalised = True


def _mark_last(layers: list[Layer]) -> None:
    weights = [layer for layer in layers if layer.role == "weight"]
    if weights and weights[-1].activation is None and not weights[-1].normalised:
        weights[-1].last = True


def _mark_branches(model: nn.Module, layers: list[Layer]) -> None:
    """The ends of residual branches in stacks of equal blocks that hold a norm."""
    for stack in _stacks(model):
        ends = [layer for layer in layers if layer.name.startswith(f"{stack}.") and _is_end(layer)]
        for layer in ends:
            layer.sums, layer.last = len(ends), False
            layer.share = 1 / math.sqrt(len(ends))


def _is_end(layer: Layer) -> bool:
    return bool(BRANCH_END.search(layer.name)) or isinstance(layer.module, nn.MultiheadAttention)


def _stacks(model: nn.Module) -> Iterator[str]:
    """The names of lists of equal blocks that hold a norm."""
    for name, module in model.named_modules():
        children = list(module.children())
        alike = len({type(child) for child in children}) == 1 and len(children) > 1
        if isinstance(module, nn.ModuleList | nn.Sequential) and alike and _holds_norm(children[0]):
            yield name


def _holds_norm(module: nn.Module) -> bool:
    return any("norm" in type(part).__name__.lower() for part in module.modules() if part is not module)
