"""Put BatchNorm behind layers of an existing model, and take it out again."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils import parametrize

from evenflow.errors import ParameterTypeError, TreatmentError
from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d
from evenflow.norm.surgery.sites import Site, sites_of

_NORM_BY_SPACE_DIMS = {1: BatchNorm1d, 2: BatchNorm2d, 3: BatchNorm3d}
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
_READ_THEIR_CHILDREN = (nn.MultiheadAttention, nn.TransformerEncoderLayer)


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
    """

    names: tuple[str, ...]
    _edits: tuple[_Edit, ...]

    def undo(self) -> None:
        """Restore the former modules and biases: the same objects, in the same places.

        Raises:
            TreatmentError: It has been undone already, or the model was changed at these places since.
                Nothing was changed.
        """
        for edit in self._edits:
            for site in edit.sites:
                if site.parent._modules.get(site.child_name) is not edit.pair:
                    raise TreatmentError(
                        f"the BatchNorm inserted at {site.child_name!r} of {type(site.parent).__name__} "
                        "is not there any more: it has been undone already, or replaced since"
                    )
        for edit in self._edits:
            edit.reverse()


def insert_(model: nn.Module, layers: Sequence[str]) -> Insertion:
    """Put a BatchNorm behind each named layer, in place.

    The layer's place is taken by `Sequential(layer=<the same module>, norm=BatchNorm)`, wherever the module
    is used. Its bias is dropped, because BatchNorm subtracts any constant and has a bias of its own. The new
    layer is on the device and in the dtype and mode of the old one. An optimizer made before does not know
    the new parameters. BatchNorm behind a `Linear` normalises dimension 1, so the layer has to give
    (batch, feature).

    Args:
        model: The model, changed in place.
        layers: Qualified names, as in `model.named_modules()`, of Linear, Conv and ConvTranspose layers.

    Returns:
        The names of the new layers, and the way back.

    Raises:
        ParameterTypeError: `layers` is a single string.
        TreatmentError: A name is not in the model, is of another type, has a norm behind it already, or is
            inside a module that reads its weight directly. Nothing was changed.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> insertion = insert_(model, ["0"])
        >>> insertion.names
        ('0.norm',)
        >>> insertion.undo()
        >>> model[0]
        Linear(in_features=4, out_features=8, bias=True)
    """
    if isinstance(layers, str):
        raise ParameterTypeError(f"layers must be a sequence of names; got the single string {layers!r}")
    modules = dict(model.named_modules(remove_duplicate=False))
    edits: dict[str, _Edit] = {}
    for name in layers:
        layer = _find(modules, name)
        if all(edit.layer is not layer for edit in edits.values()):
            edits[name] = _plan(model, name, layer)
    for edit in edits.values():
        edit.perform()
    return Insertion(tuple(f"{name}.norm" for name in edits), tuple(edits.values()))


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


def _plan(model: nn.Module, name: str, layer: nn.Linear | _ConvNd) -> _Edit:
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
    return _Edit(sites, layer, layer._parameters["bias"], _pair(layer))


def _check_site(name: str, site: Site) -> None:
    kind = type(site.parent).__name__
    if isinstance(site.parent, _READ_THEIR_CHILDREN):
        raise TreatmentError(
            f"{name!r} is part of a {kind}, which reads the weight of its layers directly and leaves no "
            "place for a BatchNorm"
        )
    follower = _follower(site)
    if isinstance(follower, _NORMS):
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
