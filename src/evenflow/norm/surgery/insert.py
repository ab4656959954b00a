"""Put BatchNorm behind layers of an existing model, and take it out again."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from evenflow.errors import ParameterTypeError, TreatmentError
from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d
from evenflow.norm.surgery.belongs import norm_behind, why_not_here
from evenflow.norm.surgery.kept import Kept, listed
from evenflow.norm.surgery.layers import NORMS
from evenflow.norm.surgery.sites import Site, sites_of
from evenflow.norm.surgery.survey import Survey, survey
from evenflow.norm.surgery.trial import observe, undone_on_error
from evenflow.probe.batch import Batch, parse_batch

_NORM_BY_SPACE_DIMS = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}
_READ_THEIR_CHILDREN = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)


@dataclass(frozen=True)
class _Edit:
    """One layer and the pair that takes its place everywhere."""

    sites: tuple[Site, ...]
    layer: nn.Linear | _ConvNd
    bias: nn.Parameter | None
    pair: nn.Sequential

    def perform(self) -> None:
        for site in self.sites:
            setattr(site.parent, site.child_name, self.pair)
        self.layer.register_parameter("bias", None)

    def reverse(self) -> None:
        for site in self.sites:
            setattr(site.parent, site.child_name, self.layer)
        if self.bias is not None:  # it stood in no module, so it missed what `.to()` did meanwhile
            self.bias.data = self.bias.data.to(self.layer.weight)
        self.layer.register_parameter("bias", self.bias)


@dataclass(frozen=True)
class Insertion:
    """What `insert_` did.

    Attributes:
        names: Qualified name of each new BatchNorm, in the order of the layers.
        kept: The layers that got none, and why; empty where the layers were named.
    """

    names: tuple[str, ...]
    _edits: tuple[_Edit, ...]
    kept: tuple[Kept, ...] = ()

    def __str__(self) -> str:
        parts = [listed(f"inserted {len(self.names)}", self.names), listed(f"kept {len(self.kept)}", self.kept)]
        return "\n".join(part for part in parts if part) or "the model has no layer that a BatchNorm could follow"

    def undo(self) -> None:
        """Restore the former modules and biases: the same objects, in the same places.

        Raises:
            TreatmentError: It has been undone already, or the model was changed at these places since.
                Nothing was changed.
        """
        for edit in self._edits:
            for site in edit.sites:
                if site.child() is not edit.pair:
                    raise TreatmentError(
                        f"the BatchNorm inserted at {site.child_name!r} of {type(site.parent).__name__} "
                        "is not there any more: it has been undone already, or replaced since"
                    )
        self._take_back()

    def _take_back(self) -> None:
        for edit in self._edits:
            edit.reverse()


def insert_(model: nn.Module, layers: Sequence[str] | None = None, batch: object = None) -> Insertion:
    """Put a BatchNorm behind each layer where it belongs, or behind each named one, in place.

    It belongs between a Linear, Conv or ConvTranspose layer and an activation, also where a residual is added or the
    signal pooled in between; not behind the output layer, nor where a normalisation follows. Which function or module
    reads a layer is found by following the forward of the model with `torch.fx`.

    The layer's place is taken by `Sequential(layer=<the same module>, norm=BatchNorm)`, wherever the module
    is used. Its bias is dropped, because BatchNorm subtracts any constant and has a bias of its own. The new
    layer is on the device and in the dtype and mode of the old one. An optimizer made before does not know
    the new parameters. BatchNorm behind a `Linear` normalises dimension 1, so the layer has to give
    (batch, feature).

    Args:
        model: The model, changed in place.
        layers: Qualified names, as in `model.named_modules()`, of Linear, Conv and ConvTranspose layers; None: all
            those where a BatchNorm belongs.
        batch: `(inputs, targets)`, a tensor, or a dict of keyword inputs. With it, layers whose outputs are sequences
            of features are passed over, and the changed model is run.

    Returns:
        The names of the new layers, which layers got none and why, and the way back.

    Raises:
        ParameterTypeError: `layers` is a single string.
        TreatmentError: A name is not in the model, is of another type, has a norm behind it already, or is
            inside a module that reads its weight directly. Nothing was changed.
        BatchError: The batch is empty or has another form.
        ModelError: The model raises on the batch, before the change or after it. Nothing was changed.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> insertion = insert_(model)
        >>> print(insertion)
        inserted 1
          0.norm
        kept 1
          2: it gives the output of the model
        >>> insertion.undo()
        >>> model[0]
        Linear(in_features=4, out_features=8, bias=True)

    References:
        Ioffe & Szegedy 2015, "Batch Normalization", section 3.2.
    """
    if isinstance(layers, str):
        raise ParameterTypeError(f"layers must be a sequence of names; got the single string {layers!r}")
    parsed = None if batch is None else parse_batch(batch)
    found = survey(model)
    edits: dict[str, _Edit] = {}
    kept: tuple[Kept, ...] = ()
    if layers is None:
        edits, kept = _where_it_belongs(model, found, parsed)
    else:
        edits = _where_it_is_wanted(model, found, layers)
    for edit in edits.values():
        edit.perform()
    insertion = Insertion(tuple(f"{name}.norm" for name in edits), tuple(edits.values()), kept)
    if parsed is not None:
        with undone_on_error(insertion._take_back):
            observe(model, parsed, training=True)
    return insertion


def _where_it_is_wanted(model: nn.Module, found: Survey, names: Sequence[str]) -> dict[str, _Edit]:
    modules = dict(model.named_modules(remove_duplicate=False))
    edits: dict[str, _Edit] = {}
    for name in names:
        layer = _find(modules, name)
        if all(edit.layer is not layer for edit in edits.values()):
            edits[name] = _plan(model, name, layer, found)
    return edits


def _where_it_belongs(
    model: nn.Module, found: Survey, batch: Batch | None
) -> tuple[dict[str, _Edit], tuple[Kept, ...]]:
    edits: dict[str, _Edit] = {}
    kept = []
    dims = {} if batch is None else _output_dims(model, batch)
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | _ConvNd):
            continue
        try:
            edit = _plan(model, name, layer, found)
        except TreatmentError as reason:
            kept.append(Kept(name, str(reason)))
            continue
        if (why := why_not_here(layer, found, model, dims.get(id(layer)))) is not None:
            kept.append(Kept(name, why))
        else:
            edits[name] = edit
    return edits, tuple(kept)


def _output_dims(model: nn.Module, batch: Batch) -> dict[int, int]:
    """How many dimensions the output of each layer has."""
    dims: dict[int, int] = {}

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            dims[id(layer)] = output.dim()

    with ExitStack() as hooks:
        for layer in _layers(model):
            hooks.callback(layer.register_forward_hook(note).remove)
        with torch.no_grad():
            observe(model, batch, training=model.training, gradients=False)
    return dims


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    yield from (module for module in model.modules() if isinstance(module, nn.Linear | _ConvNd))


def _find(modules: dict[str, nn.Module], name: str) -> nn.Linear | _ConvNd:
    if name not in modules:
        raise TreatmentError(f"the model has no module {name!r}; its modules are those of model.named_modules()")
    layer = modules[name]
    if not isinstance(layer, nn.Linear | _ConvNd):
        raise TreatmentError(
            f"no BatchNorm fits behind {name!r}, a {type(layer).__name__}; it goes behind Linear, Conv1d, "
            "Conv2d, Conv3d and ConvTranspose1d, 2d, 3d"
        )
    return layer


def _plan(model: nn.Module, name: str, layer: nn.Linear | _ConvNd, found: Survey) -> _Edit:
    """Check everything that could go wrong with one layer, and prepare its pair."""
    if parametrize.is_parametrized(layer, "bias"):
        raise TreatmentError(
            f"the bias of {name!r} is parametrized and cannot be dropped; call "
            "torch.nn.utils.parametrize.remove_parametrizations(layer, 'bias') first"
        )
    if not layer.weight.is_floating_point():
        raise TreatmentError(f"no BatchNorm fits behind {name!r}: its weight is {layer.weight.dtype}, not real")
    sites = tuple(sites_of(model, layer))
    if not sites:
        raise TreatmentError(
            f"{name!r} is the model itself, a {type(layer).__name__}, and has no parent to put a BatchNorm "
            "into; wrap it in torch.nn.Sequential first"
        )
    for site in sites:
        _check_site(name, site)
    if (follower := norm_behind(layer, found)) is not None:
        raise TreatmentError(f"{name!r} has a {type(follower).__name__} behind it already")
    return _Edit(sites, layer, layer._parameters["bias"], _pair(layer))


def _check_site(name: str, site: Site) -> None:
    kind = type(site.parent).__name__
    if isinstance(site.parent, _READ_THEIR_CHILDREN):
        raise TreatmentError(
            f"{name!r} is part of a {kind}, which reads the weight of its layers directly and leaves no "
            "place for a BatchNorm"
        )
    follower = _follower(site)
    if isinstance(follower, NORMS):
        raise TreatmentError(f"{name!r} has a {type(follower).__name__} behind it already")


def _follower(site: Site) -> nn.Module | None:
    """Return the module that runs after the layer, where the parent is a Sequential and so tells."""
    if not isinstance(site.parent, nn.Sequential):
        return None
    children = list(site.parent._modules)
    after = children[children.index(site.child_name) + 1 :]
    return site.parent._modules[after[0]] if after else None


def _pair(layer: nn.Linear | _ConvNd) -> nn.Sequential:
    if isinstance(layer, nn.Linear):
        channels, space_dims = layer.out_features, 1
    else:
        channels, space_dims = layer.out_channels, len(layer.kernel_size)
    norm_type = _NORM_BY_SPACE_DIMS[space_dims]
    norm = norm_type(channels, device=layer.weight.device, dtype=layer.weight.dtype)
    return nn.Sequential(OrderedDict(layer=layer, norm=norm)).train(layer.training)
