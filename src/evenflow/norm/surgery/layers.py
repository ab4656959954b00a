"""Which layers are batch normalisation, which of them may be changed, and into what."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase, _NormBase

from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d
from evenflow.norm.sync import SyncBatchNorm

OURS: dict[type[_BatchNorm], type[_BatchNorm]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
    nn.SyncBatchNorm: SyncBatchNorm,
}
"""For each layer of torch the one of evenflow that computes the same."""

THEIRS: dict[type, type[_BatchNorm]] = {ours: theirs for theirs, ours in OURS.items()}

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)
"""The layers that normalise."""


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module normalises each channel over the batch, by its class."""
    return isinstance(module, _BatchNorm)


def batch_norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Each BatchNorm of a model once, with its qualified name."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            yield name, module


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer is exactly one of torch's or of evenflow's drop-ins, and not something derived from one."""
    return type(layer) in OURS or type(layer) in THEIRS


def why_not_plain(layer: nn.Module) -> str | None:
    """Why nothing is known of what a BatchNorm computes; None if it is a plain one."""
    if isinstance(layer, _LazyNormBase):
        return "it is lazy and has not seen its first batch"
    if not is_plain(layer):
        return f"it is a {type(layer).__name__}, whose forward is its own"
    if "forward" in vars(layer):
        return "its forward has been replaced on the instance"
    return None


def why_not_fusible(layer: nn.Module) -> str | None:
    """Why a BatchNorm cannot be given an activation; None if it can."""
    if type(layer) is nn.SyncBatchNorm:
        return "torch's SyncBatchNorm runs on GPUs only, so nothing could be compared; convert_ makes it evenflow's"
    if (reason := why_not_plain(layer)) is not None:
        return reason
    own = getattr(layer, "activation", None)
    return None if own is None else f"it applies {own} itself"
