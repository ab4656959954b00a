"""Which layers are batch normalisation, and which of them may be changed."""

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d

OURS: dict[type[_BatchNorm], type[_BatchNorm]] = {
    nn.BatchNorm1d: BatchNorm1d,
    nn.BatchNorm2d: BatchNorm2d,
    nn.BatchNorm3d: BatchNorm3d,
}
"""For each layer of torch the one of evenflow that computes the same."""

THEIRS: dict[type, type[_BatchNorm]] = {ours: theirs for theirs, ours in OURS.items()}


def is_batch_norm(module: nn.Module) -> bool:
    """Whether a module normalises each channel over the batch, by its class."""
    return isinstance(module, _BatchNorm)


def batch_norms(model: nn.Module) -> Iterator[tuple[str, _BatchNorm]]:
    """Each BatchNorm of a model once, with its qualified name."""
    for name, module in model.named_modules():
        if isinstance(module, _BatchNorm):
            yield name, module


def refusal(layer: nn.Module) -> str | None:
    """Why a BatchNorm cannot be given an activation; None if it can."""
    kind = type(layer)
    if isinstance(layer, _LazyNormBase):
        return "it is lazy and has not seen its first batch"
    if kind is nn.SyncBatchNorm:
        return "it shares its statistics between processes, which torch's layer does by itself"
    if kind not in OURS and kind not in THEIRS:
        return f"it is a {kind.__name__}, whose forward is its own"
    if "forward" in vars(layer):
        return "its forward has been replaced on the instance"
    if getattr(layer, "activation", None) is not None:
        return f"it applies {layer.activation} itself"
    return None
