"""Where in a model a BatchNorm belongs: between a linear layer and the activation that alone reads it."""

from torch import fx, nn
from torch.nn.modules import activation as torch_activations
from torch.nn.modules.conv import _ConvNd

from evenflow.norm.surgery.activation_calls import function_name, of_node
from evenflow.norm.surgery.layers import NORMS
from evenflow.norm.surgery.survey import Call, Survey

_NO_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
_SUMS = {"add", "add_", "iadd"}
_POOLS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Dropout, nn.Dropout2d,
    nn.Identity,
)  # fmt: skip
_POOLING_FUNCTIONS = {"max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "dropout"}


def why_not_here(layer: nn.Module, found: Survey, model: nn.Module, dims: int | None) -> str | None:
    """Why no BatchNorm belongs behind a layer; None if one does.

    Args:
        layer: A Linear, a convolution or a transposed one.
        found: What is known of the model.
        model: The model.
        dims: Number of dimensions of what the layer gives; None where it was not run.
    """
    if (hidden := found.why_hidden(layer, model)) is not None:
        return hidden
    if id(layer) in found.read_directly:
        return "a forward reads its weight or bias by itself"
    wanted = len(layer.kernel_size) + 2 if isinstance(layer, _ConvNd) else 2
    if dims is not None and dims != wanted:
        return (
            f"its output has {dims} dimensions, and a BatchNorm behind it normalises (batch, channel, ...) of {wanted}"
        )
    for call in found.calls[id(layer)]:
        if (reason := _why_no_activation(call, call.node)) is not None:
            return reason
    return None


def norm_behind(layer: nn.Module, found: Survey) -> nn.Module | None:
    """The normalisation that reads the output of a layer, if there is one."""
    for call in found.calls[id(layer)]:
        for user in call.node.users:
            module = call.module_of(user)
            if isinstance(module, NORMS):
                return module
    return None


def _why_no_activation(call: Call, node: fx.Node) -> str | None:
    """Why what reads a node is not an activation, also behind a sum or a pooling; None if it is."""
    if not node.users:
        return "its output is not read"
    for user in node.users:
        if user.op == "output":
            return "it gives the output of the model"
        module = call.module_of(user)
        if isinstance(module, NORMS):
            return f"a {type(module).__name__} follows"
        if _is_activation(user, module, call):
            continue
        if not _lets_through(user, module):
            return f"{_told(user)} follows, which is no activation"
        if (reason := _why_no_activation(call, user)) is not None:
            return reason
    return None


def _is_activation(node: fx.Node, module: nn.Module | None, call: Call) -> bool:
    if module is not None and type(module).__module__ == torch_activations.__name__:
        return not isinstance(module, _NO_ACTIVATIONS)
    return of_node(node, call.trace.owner) is not None


def _lets_through(node: fx.Node, module: nn.Module | None) -> bool:
    if module is not None:
        return isinstance(module, _POOLS)
    return function_name(node) in _SUMS | _POOLING_FUNCTIONS


def _told(node: fx.Node) -> str:
    return str(node.target) if isinstance(node.target, str) else function_name(node) or node.name
