"""Fold BatchNorm into the linear layers beside it, for inference."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from evenflow.errors import TreatmentError
from evenflow.norm.surgery.fold_algebra import folded
from evenflow.norm.surgery.fold_check import FoldCheck
from evenflow.norm.surgery.kept import Kept, listed
from evenflow.norm.surgery.layers import batch_norms
from evenflow.norm.surgery.neighbours import Neighbours, Stays, neighbours
from evenflow.norm.surgery.sites import Site, sites_of
from evenflow.norm.surgery.survey import survey
from evenflow.norm.surgery.trial import Yardstick, undone_on_error
from evenflow.probe.batch import parse_batch
from evenflow.probe.usable import unwrapped

_ACTIVATIONS: dict[str | None, type[nn.Module]] = {
    None: nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hardswish": nn.Hardswish,
}


@dataclass(frozen=True)
class Fold:
    """A BatchNorm that is part of another layer now.

    Attributes:
        name: Its qualified name. An Identity, or the activation that it applied, stands there now.
        into: The qualified name of the layer.
        behind: Whether it stood behind that layer.
    """

    name: str
    into: str
    behind: bool

    def __str__(self) -> str:
        return f"{self.name}: into {self.into}, {'behind' if self.behind else 'before'} which it stood"


@dataclass(frozen=True)
class Folding:
    """What `fold_` did.

    Attributes:
        folded: The BatchNorm layers that are gone, and where they went.
        kept: The layers that were left as they were, and why.
    """

    folded: tuple[Fold, ...]
    kept: tuple[Kept, ...]
    _edits: tuple["_Edit", ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [listed(f"folded {len(self.folded)}", self.folded), listed(f"kept {len(self.kept)}", self.kept)]
        return "\n".join(part for part in parts if part) or "the model has no BatchNorm"

    def undo(self) -> None:
        """Restore the former weights and put the BatchNorm layers back: the same objects, in the same places.

        Raises:
            TreatmentError: It has been undone already, or the model was changed at these places since.
                Nothing was changed.
        """
        for edit in self._edits:
            if any(site.child() is not edit.substitute for site in edit.sites):
                raise TreatmentError(
                    "what took the place of a folded BatchNorm is not there any more: it has been undone already, or "
                    "replaced since"
                )
        self._take_back()

    def _take_back(self) -> None:
        for edit in reversed(self._edits):
            edit.reverse()


class _Edit:
    """One BatchNorm, folded into one layer, and the way back."""

    def __init__(self, pair: Neighbours, model: nn.Module) -> None:
        self.norm, self.layer = pair.norm, pair.layer
        self.sites: tuple[Site, ...] = tuple(sites_of(model, pair.norm))
        self.substitute = _ACTIVATIONS[getattr(pair.norm, "activation", None)]().train(pair.norm.training)
        self.weight = self.layer.weight.detach().clone()
        self.bias = None if self.layer.bias is None else self.layer.bias.detach().clone()
        weight, bias = (t.to(self.weight.dtype) for t in folded(pair.norm, pair.layer, behind=pair.behind))
        if not bool(weight.isfinite().all() and bias.isfinite().all()):
            raise Stays(f"the folded weight does not fit {self.weight.dtype}")
        self.new_weight, self.new_bias = weight, bias

    def perform(self) -> None:
        for site in self.sites:
            site.put(self.substitute)
        _write(self.layer.weight, self.new_weight)
        if self.bias is None:
            self.layer.bias = nn.Parameter(self.new_bias, requires_grad=self.layer.weight.requires_grad)
        else:
            _write(self.layer.bias, self.new_bias)

    def reverse(self) -> None:
        for site in self.sites:
            site.put(self.norm)
        _write(self.layer.weight, self.weight)
        if self.bias is None:
            self.layer.bias = None
        else:
            _write(self.layer.bias, self.bias)


def _write(parameter: Tensor, values: Tensor) -> None:
    with torch.inference_mode(False), torch.no_grad():
        parameter.copy_(values)


def fold_(model: nn.Module, batch: object = None) -> Folding:
    r"""Fold each BatchNorm that runs by its running statistics into the linear layer beside it, in place.

    A BatchNorm behind a layer becomes part of it, or else one before a layer, where that is exact:

    $$
    s (W x + b) + t = (s W) x + (s b + t), \qquad W (s x + t) + b = (W s) x + (W t + b),
    \qquad s = \frac{\gamma}{\sqrt{\sigma^2 + \epsilon}},\; t = \beta - \mu s
    $$

    Layers are Linear (of (N, C) data), Conv1d to 3d and ConvTranspose1d to 3d, with groups and without, with a bias or
    without. They stay the same objects, as does their weight; an Identity takes the place of the BatchNorm, or the
    activation that it applied. Which layers stand side by side is found by following the forward of the model with
    `torch.fx`, whichever modules they are in.

    A BatchNorm is kept when the model is not equivalent without it: in training mode (unless frozen), without running
    statistics, with an activation in between, before a convolution that pads with zeros, beside a layer whose output is
    also read elsewhere or whose weight is shared, parametrized, pruned, hooked or too narrow for the result.

    Args:
        model: The model in eval mode, changed in place.
        batch: `(inputs, targets)`, a tensor, or a dict of keyword inputs. Each pair is compared with its single steps
            in float64 on random data; with a batch, also the outputs of the whole model.

    Returns:
        What was folded, what was not and why, and the way back.

    Raises:
        TreatmentError: The comparison failed. The model is as it was.
        BatchError: The batch is empty or has another form.
        NonFiniteError: The batch has NaN or infinity, or the model makes NaN of it. Nothing was changed.
        ModelError: The model raises on the batch.

    Examples:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
        >>> print(fold_(model))
        folded 1
          1: into 0, behind which it stood
        >>> model[1]
        Identity()
    """
    model = unwrapped(model)
    parsed = None if batch is None else parse_batch(batch)
    before = None if parsed is None else Yardstick(model, parsed, (False,), gradients=False, buffers=False)
    found = survey(model)
    done: list[Fold] = []
    kept: list[Kept] = []
    edits: list[_Edit] = []
    names = {id(module): name for name, module in model.named_modules()}
    with undone_on_error(lambda: Folding((), (), tuple(edits))._take_back()):
        for name, norm in list(batch_norms(model)):
            try:
                pair = neighbours(norm, found, model)
                edit = _Edit(pair, model)
            except Stays as reason:
                kept.append(Kept(name, str(reason)))
                continue
            check = FoldCheck(pair)
            edits.append(edit)
            edit.perform()
            check.compare()
            done.append(Fold(name, names[id(pair.layer)], pair.behind))
        if before is not None:
            before.check()
    return Folding(tuple(done), tuple(kept), tuple(edits))
