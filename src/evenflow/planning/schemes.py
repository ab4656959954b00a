"""Schemes that treat every layer alike, whatever the network does with it: those of the notes, and torch's own."""

import math
from collections.abc import Callable

from torch import Tensor, nn

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer
from evenflow.planning.row import Option
from evenflow.planning.rules.dense import is_weight_normed, weight_normed_rows
from evenflow.planning.rules.norm import norm_rows
from evenflow.theory import Fans, fans

Drawing = tuple[str, dict[str, Option]]

# Keras's widths of the two random schemes.
SMALL = 0.05


def _normal(std: float) -> Drawing:
    return "normal", {"mean": 0.0, "std": std}


def _uniform(std: float) -> Drawing:
    bound = math.sqrt(3) * std
    return "uniform", {"low": -bound, "high": bound}


def _glorot(pair: Fans) -> float:
    return math.sqrt(2 / (pair.fan_in + pair.fan_out))


def _he(pair: Fans) -> float:
    return math.sqrt(2 / pair.fan_in)


def _lecun(pair: Fans) -> float:
    return math.sqrt(1 / pair.fan_in)


SCHEMES: dict[str, Callable[[Fans], Drawing]] = {
    "zeros": lambda _: ("constant", {"value": 0.0}),
    "constant": lambda _: ("constant", {"value": 0.1}),
    "random_uniform": lambda _: ("uniform", {"low": -SMALL, "high": SMALL}),
    "random_normal": lambda _: _normal(SMALL),
    "glorot_uniform": lambda pair: _uniform(_glorot(pair)),
    "glorot_normal": lambda pair: _normal(_glorot(pair)),
    "he_uniform": lambda pair: _uniform(_he(pair)),
    "he_normal": lambda pair: _normal(_he(pair)),
    "lecun_uniform": lambda pair: _uniform(_lecun(pair)),
    "lecun_normal": lambda pair: _normal(_lecun(pair)),
    "orthogonal": lambda _: ("orthogonal", {"gain": 1.0}),
    "lsuv": lambda _: ("orthogonal", {"gain": 1.0}),
}

# Orthogonal starts that are then scaled to unit variance on the data (Mishkin and Matas 2016).
MEASURED = {"lsuv"}


def scheme_rows(draft: Draft, scheme: str, layer: Layer) -> None:
    """Write the rows of one layer by a fixed scheme: its matrices by the scheme, biases zero, norms one and zero."""
    if layer.role == "norm":
        layer.sums = 0
        norm_rows(draft, 0, layer)
    elif is_weight_normed(layer.parameters):
        layer.activation, layer.sums, layer.share, layer.last = None, 0, 1.0, False
        weight_normed_rows(draft, layer)
    else:
        for name in layer.parameters:
            _scheme_row(draft, scheme, layer, name)


def _scheme_row(draft: Draft, scheme: str, layer: Layer, name: str) -> None:
    tensor = draft.tensors[name]
    pair = fans_of(layer, name)
    if tensor.dim() < 2:
        draft.constant(layer, name, 0.0, "a bias starts at zero")
    elif layer.role == "embedding" and "weight" not in draft.uses[name] and scheme not in ("zeros", "constant"):
        draft.add(
            layer,
            name,
            "normal",
            {"mean": 0.0, "std": 1.0, **_padding(layer)},
            "the scheme has no rule for a table of tokens; torch's",
            role="embedding",
        )
    elif pair is None or pair.fan_in <= 0 or pair.fan_out <= 0:
        draft.keep(layer, name, f"the fans of {layer.name} ({layer.kind}) are not known")
    else:
        rule, options = SCHEMES[scheme](pair)
        if rule == "orthogonal":
            options["blocks"] = blocks_of(layer, name)
        aim = 1.0 if scheme in MEASURED and layer.role == "weight" else None
        reason = f"{scheme} for every weight" + (", then scaled to unit variance on the batch" if aim else "")
        draft.add(
            layer,
            name,
            rule,
            options,
            reason,
            role="hidden",
            fans=pair,
            aim=aim,
            activation=layer.activation[0] if layer.activation else None,
        )


def _padding(layer: Layer) -> dict[str, Option]:
    padding = getattr(layer.module, "padding_idx", None)
    return {} if padding is None else {"padding_idx": int(padding)}


def blocks_of(layer: Layer, name: str) -> int:
    """How many matrices a weight packs along its first dimension: gates, queries with keys and values, or groups."""
    kind, key = type(layer.module).__name__.upper(), name.rpartition(".")[2]
    if isinstance(layer.module, nn.RNNBase | nn.RNNCellBase) and not key.startswith("weight_hr"):
        return 4 if "LSTM" in kind else 3 if "GRU" in kind else 1
    if key == "in_proj_weight":
        return 3
    return int(getattr(layer.module, "groups", 1)) if "Transpose" not in kind else 1


def fans_of(layer: Layer, name: str) -> Fans | None:
    """Fans of one of the weights of a layer."""
    module, key = layer.module, name.rpartition(".")[2]
    if isinstance(module, nn.MultiheadAttention) and name.endswith("out_proj.weight"):
        return fans(module.out_proj)
    if isinstance(module, nn.RNNBase | nn.RNNCellBase | nn.MultiheadAttention):
        return fans(module, key) if "weight" in key else None
    return layer.fans


def torch_rows(draft: Draft, layer: Layer) -> None:
    """Write the rows of one layer by torch's `reset_parameters` of its module."""
    module = layer.module
    if layer.role == "norm":
        layer.sums = 0
        norm_rows(draft, 0, layer)
        return
    for name in layer.parameters:
        drawing = None if module is None else _of_torch(module, layer, name, draft.tensors[name])
        if drawing is None:
            draft.keep(layer, name, f"torch has no rule for a {layer.kind}")
        else:
            draft.add(
                layer,
                name,
                *drawing,
                f"torch's {type(module).__name__}.reset_parameters",
                role="bias" if draft.tensors[name].dim() < 2 else "hidden",
                fans=fans_of(layer, name),
            )


def _of_torch(module: nn.Module, layer: Layer, name: str, tensor: Tensor) -> Drawing | None:
    key = name.rpartition(".")[2]
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "normal", {"mean": 0.0, "std": 1.0, **_padding(layer)}
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        return _bounded(1 / math.sqrt(module.hidden_size))
    if isinstance(module, nn.MultiheadAttention):
        return _of_attention(module, key, name, tensor)
    if isinstance(module, nn.Bilinear):
        return _bounded(1 / math.sqrt(module.in1_features))
    if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
        weight = module.weight
        return _bounded(1 / math.sqrt(max(1, math.prod(weight.shape[1:]))))
    return None


def _bounded(bound: float) -> Drawing:
    return "uniform", {"low": -bound, "high": bound}


def _of_attention(module: nn.MultiheadAttention, key: str, name: str, tensor: Tensor) -> Drawing:
    if name.endswith("out_proj.weight"):
        return _bounded(1 / math.sqrt(module.embed_dim))
    if key in ("bias_k", "bias_v"):
        return _normal(math.sqrt(2 / (tensor.shape[1] * tensor.shape[2] + tensor.shape[0] * tensor.shape[2])))
    if tensor.dim() < 2:
        return "constant", {"value": 0.0}
    return _bounded(math.sqrt(6 / (tensor.shape[0] + tensor.shape[1])))
