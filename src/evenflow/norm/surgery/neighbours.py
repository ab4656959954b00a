"""Which layer each BatchNorm can be folded into, by what is called behind what."""

from dataclasses import dataclass
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.norm.surgery.fold_algebra import why_not_behind
from evenflow.norm.surgery.layers import why_not_plain
from evenflow.norm.surgery.survey import Survey
from evenflow.norm.surgery.trace import is_hooked

LAYERS = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
"""The layers that take a BatchNorm in."""


class Stays(Exception):  # noqa: N818  # a decision, and the reason for it
    """A BatchNorm stays what it is."""


@dataclass(frozen=True)
class Neighbours:
    """A BatchNorm and the layer that can take it in.

    Attributes:
        norm: The BatchNorm.
        layer: The layer.
        behind: Whether the BatchNorm stands behind the layer.
    """

    norm: _BatchNorm
    layer: Any
    behind: bool


def neighbours(norm: _BatchNorm, found: Survey, model: nn.Module) -> Neighbours:
    """Find the layer that can take in a BatchNorm.

    Raises:
        Stays: There is none, and why.
    """
    _require_constant(norm)
    _require_known(norm, found, model)
    try:
        layer, behind = _before(norm, found), True
    except Stays as reason:
        if getattr(norm, "activation", None) is not None:
            raise
        try:
            layer, behind = _after(norm, found), False
        except Stays as other:
            raise Stays(f"{reason}; and {other}") from other
    _require_known(layer, found, model)
    _require_own_weight(layer, model)
    if not behind and (why := why_not_behind(norm, layer)) is not None:
        raise Stays(why)
    return Neighbours(norm, layer, behind)


def _require_constant(norm: _BatchNorm) -> None:
    if (why := why_not_plain(norm)) is not None:
        raise Stays(why)
    if norm.running_mean is None or norm.running_var is None:
        raise Stays("it has no running statistics, so that it depends on the batch in every mode")
    if norm.training and not getattr(norm, "frozen", False):
        raise Stays("it is in training mode and depends on the batch; call model.eval() first")


def _require_known(module: nn.Module, found: Survey, model: nn.Module) -> None:
    """Refuse a module of which somebody else may see the values."""
    what = "it" if isinstance(module, _BatchNorm) else f"the {type(module).__name__} beside it"
    if any(tensor.is_meta for tensor in (*module.parameters(), *module.buffers())):
        raise Stays(f"{what} lies on the meta device and has no values")
    if is_hooked(module):
        raise Stays(f"a hook looks at {what}")
    if id(module) in found.read_directly:
        raise Stays(f"a forward reads the parameters of {what} by itself")
    if (why := found.why_hidden(module, model)) is not None:
        raise Stays(why)


def _require_own_weight(layer: nn.Module, model: nn.Module) -> None:
    if type(layer) not in LAYERS:
        raise Stays(f"beside it is a {type(layer).__name__}, which may compute its weight or pad in its own way")
    own = {tensor.untyped_storage().data_ptr() for tensor in layer.parameters() if tensor.numel()}
    for name, module in model.named_modules():
        if module is layer:
            continue
        held = [*module._parameters.values(), *module._buffers.values()]
        if any(t is not None and t.numel() and t.untyped_storage().data_ptr() in own for t in held):
            raise Stays(f"the weight of the {type(layer).__name__} beside it is shared with {name or 'the model'}")


def _before(norm: _BatchNorm, found: Survey) -> nn.Module:
    """The layer that every call of the BatchNorm reads, and that nobody else reads."""
    layers = set()
    for call in found.calls[id(norm)]:
        node = call.node
        if len(node.args) != 1 or node.kwargs or not isinstance(node.args[0], fx.Node):
            raise Stays("it is called with more than its input")
        layer = call.module_of(node.args[0])
        if layer is None or not isinstance(layer, LAYERS):
            raise Stays(f"{_told(node.args[0])} comes before it, which cannot take it in")
        layers.add(layer)
    if len(layers) != 1:
        raise Stays("it stands behind several layers")
    (layer,) = layers
    for call in found.calls[id(layer)]:
        if [call.module_of(user) for user in call.node.users] != [norm]:
            raise Stays(f"the output of the {type(layer).__name__} before it is also read elsewhere")
    return layer


def _after(norm: _BatchNorm, found: Survey) -> nn.Module:
    """The layer that alone reads every call of the BatchNorm, and that reads nothing else."""
    layers = set()
    for call in found.calls[id(norm)]:
        users = list(call.node.users)
        if len(users) != 1:
            raise Stays(f"its output is read {len(users)} times")
        layer = call.module_of(users[0])
        if layer is None or not isinstance(layer, LAYERS):
            raise Stays(f"{_told(users[0])} follows, which cannot take it in")
        layers.add(layer)
    if len(layers) != 1:
        raise Stays("it stands before several layers")
    (layer,) = layers
    for call in found.calls[id(layer)]:
        if len(call.node.args) != 1 or call.node.kwargs or call.module_of(call.node.args[0]) is not norm:
            raise Stays(f"the {type(layer).__name__} behind it also reads something else")
    return layer


def _told(node: fx.Node) -> str:
    if node.op == "output":
        return "the output of the model"
    if node.op == "placeholder":
        return "the input of the model"
    return str(node.target) if isinstance(node.target, str) else getattr(node.target, "__name__", node.name)
