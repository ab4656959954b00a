"""Let BatchNorm layers use their running statistics for good, and stop their parameters from training."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

from evenflow.errors import TreatmentError
from evenflow.norm.modules import EvenBatchNorm
from evenflow.norm.surgery.become import become
from evenflow.norm.surgery.kept import Kept, listed
from evenflow.norm.surgery.layers import OURS, batch_norms, why_not_plain


@dataclass(frozen=True)
class Freezing:
    """What `freeze_` did.

    Attributes:
        names: Qualified names of the layers that it froze.
        kept: The layers that were left as they were, and why.
    """

    names: tuple[str, ...]
    kept: tuple[Kept, ...]
    _ways_back: tuple[Callable[[], None], ...] = field(repr=False)
    _layers: tuple[EvenBatchNorm, ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [listed(f"froze {len(self.names)}", self.names), listed(f"kept {len(self.kept)}", self.kept)]
        return "\n".join(part for part in parts if part) or "there is no BatchNorm to freeze"

    def undo(self) -> None:
        """Give the layers back their former classes and `requires_grad`, and let them learn statistics again.

        Raises:
            TreatmentError: It has been undone already, or a layer was changed since. Nothing was changed.
        """
        if not all(isinstance(layer, EvenBatchNorm) and layer.frozen for layer in self._layers):
            raise TreatmentError("the frozen layers are not frozen any more: it has been undone, or changed since")
        for way_back in reversed(self._ways_back):
            way_back()


def freeze_(model: nn.Module) -> Freezing:
    r"""Freeze every BatchNorm of a model: $y = \gamma (x - \mu_{run}) / \sqrt{\sigma_{run}^2 + \epsilon} + \beta$.

    A frozen layer uses its running statistics in both modes and never moves them; its parameters get
    `requires_grad=False`. `model.train()` does not thaw it: the flag `frozen` belongs to evenflow's layers, so
    torch's become evenflow's, as by `convert_`, and stay the same objects. Where a copy or a checkpoint outlives what
    this call returns, `unfreeze_` thaws.

    Args:
        model: The model, changed in place.

    Returns:
        The names of the layers, what could not be frozen and why, and the way back.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> freezing = freeze_(model)
        >>> before = model[1].running_mean.clone()
        >>> _ = model.train()(torch.ones(3, 4))
        >>> bool((model[1].running_mean == before).all()), model[1].weight.requires_grad
        (True, False)
        >>> freezing.undo()

    References:
        Ioffe & Szegedy 2015, "Batch Normalization", Algorithm 2, line 10.
    """
    names: list[str] = []
    kept: list[Kept] = []
    ways_back: list[Any] = []
    layers: list[Any] = []
    for name, layer in list(batch_norms(model)):
        reason = _why_not(layer)
        if reason is not None:
            kept.append(Kept(name, reason))
            continue
        ways_back.append(_freeze(layer))
        names.append(name)
        layers.append(layer)
    return Freezing(tuple(names), tuple(kept), tuple(ways_back), tuple(layers))


def unfreeze_(model: nn.Module) -> tuple[str, ...]:
    """Thaw every frozen BatchNorm of a model: it learns statistics in training, and its parameters train.

    Args:
        model: The model, changed in place. The layers stay evenflow's.

    Returns:
        The qualified names of the layers that were frozen.

    Examples:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
        >>> _ = freeze_(model)
        >>> unfreeze_(model)
        ('1',)
    """
    thawed = []
    for name, layer in batch_norms(model):
        if isinstance(layer, EvenBatchNorm) and layer.frozen:
            layer.frozen = False
            layer.requires_grad_(True)
            thawed.append(name)
    return tuple(thawed)


def _why_not(layer: _BatchNorm) -> str | None:
    if isinstance(layer, EvenBatchNorm) and not isinstance(layer, _LazyNormBase):
        if layer.frozen:
            return "it is frozen already"
    elif (reason := why_not_plain(layer)) is not None:
        return reason
    if layer.running_mean is None or layer.running_var is None:
        return "it has no running statistics that it could use"
    return None


def _freeze(layer: _BatchNorm) -> Callable[[], None]:
    trained = [(p, p.requires_grad) for p in layer.parameters()]
    way_back = become(layer, OURS[type(layer)]) if type(layer) in OURS else None
    layer.frozen = True  # type: ignore[assignment]  # an attribute of the new class
    layer.requires_grad_(False)

    def back() -> None:
        layer.frozen = False  # type: ignore[assignment]  # as above
        for parameter, was in trained:
            parameter.requires_grad_(was)
        if way_back is not None:
            way_back()

    return back
