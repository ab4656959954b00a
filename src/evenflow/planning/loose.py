"""Parameters and buffers that make no layer: tokens, scales, activations' own parameters, running statistics."""

from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer
from evenflow.planning.row import BUFFER, Row
from evenflow.planning.rules import Rule
from evenflow.planning.structure import layer_of_module

RuleOf = Callable[[Layer], Rule]

# What is added to a signal of unit size or put beside it, as class tokens and positions in vision transformers
# (Dosovitskiy et al. 2021).
TOKEN = 0.02

SCALING = {"mul", "mul_", "__mul__", "__rmul__", "__imul__", "multiply"}
ADDING = {"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__"}
PLACING = {
    "cat",
    "concat",
    "stack",
    "expand",
    "where",
    "repeat",
    "masked_fill",
    "index_put_",
    "__setitem__",
    "__getitem__",
}

STATISTICS = {"running_mean": 0.0, "running_var": 1.0, "num_batches_tracked": 0.0}


def loose_rows(draft: Draft, rule_of: RuleOf) -> None:
    """Write the rows of all parameters that no layer has."""
    owners = {id(p): m for m in draft.network.model.modules() for p in m.parameters(recurse=False)}
    for name, tensor in draft.tensors.items():
        if name not in draft.rows:
            _loose(draft, name, tensor, owners[id(tensor)], rule_of)


def _loose(draft: Draft, name: str, tensor: Tensor, owner: nn.Module, rule_of: RuleOf) -> None:
    layer = Layer(
        name=name.rpartition(".")[0], kind=type(owner).__name__, role="opaque", module=owner, parameters=(name,)
    )
    use = draft.network.uses.get(name)
    if isinstance(owner, nn.PReLU):
        draft.constant(layer, name, 0.25, "PReLU's slope starts at 1/4 (He et al. 2015)", role="other")
    elif use in SCALING and (value := draft.constant_value(name)) is not None:
        draft.constant(layer, name, value, "multiplies the signal by the factor that it was built with", role="other")
    elif use in ADDING and tensor.dim() < 2:
        draft.constant(layer, name, 0.0, "is added to the signal as a bias is", role="bias")
    elif use in ADDING | PLACING and tensor.dim() > 1:
        options = {"mean": 0.0, "std": TOKEN}
        draft.add(
            layer,
            name,
            "normal",
            options,
            f"joins the signal as a learned token or position: {TOKEN}",
            role="embedding",
        )
    elif use is None and draft.network.traced:
        _unreached(draft, layer, name, rule_of)
    else:
        draft.keep(layer, name, f"no rule is known for a parameter that meets the signal in {use or 'an unknown way'}")


def _unreached(draft: Draft, layer: Layer, name: str, rule_of: RuleOf) -> None:
    """What the batch did not reach is treated as the structure suggests, if that is clear."""
    draft.network.notes.append(f"{name}: the batch did not reach it")
    known = None if layer.module is None else layer_of_module(layer.name, layer.module, draft.name_of)
    if known is not None:
        index = draft.network.append(known)
        rule_of(known)(draft, index, known)
    if name not in draft.rows:
        value = draft.constant_value(name)
        if value is None:
            draft.keep(layer, name, "the batch did not reach it, and its kind is not known")
        else:
            draft.constant(
                layer, name, value, "the batch did not reach it; the value that it was built with", role="other"
            )


def buffer_rows(model: nn.Module) -> Iterator[Row]:
    """The rows of all buffers: running statistics start anew, everything else is left alone."""
    owners = {id(b): m for m in model.modules() for b in m.buffers(recurse=False)}
    for name, buffer in model.named_buffers():
        key = name.rpartition(".")[2]
        layer, shape = name.rpartition(".")[0], tuple(buffer.shape)
        if isinstance(owners[id(buffer)], _NormBase) and key in STATISTICS:
            reason = "no batch has been counted" if key == "num_batches_tracked" else "statistics of a standard signal"
            yield Row(name, BUFFER, shape, "constant", {"value": STATISTICS[key]}, layer, "statistic", reason=reason)
        else:
            yield Row(
                name, BUFFER, shape, "keep", {}, layer, "other", reason="a buffer that its module computes itself"
            )
