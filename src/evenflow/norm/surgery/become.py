"""Give a layer another class and leave it the same object, so that whoever refers to it still does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.norm.modules import EvenBatchNorm

_PLACES = ("_parameters", "_buffers", "_modules")
_WIDE_BITS = 32


def become(layer: _BatchNorm, kind: type[_BatchNorm], like: type[_BatchNorm] | None = None) -> Callable[[], None]:
    """Turn a BatchNorm into one of another class, in place.

    Parameters, buffers, hooks, modes and everything else that was put on the layer stay the same objects. What
    only the former class sets in its constructor goes, what only the new one sets comes, with its default.

    Args:
        layer: An initialised layer.
        kind: The new class.
        like: The class whose constructor tells what the former class sets; by default the former class itself.

    Returns:
        The way back. It leaves what training has changed meanwhile.
    """
    former, before = type(layer), dict(vars(layer))
    _exchange(layer, like or former, kind)
    layer.__class__ = kind
    _fit_running_stats(layer)

    def back() -> None:
        _exchange(layer, kind, like or former)
        for name, value in before.items():
            vars(layer).setdefault(name, value)
        layer.__class__ = former
        _fit_running_stats(layer)

    return back


def _exchange(layer: _BatchNorm, former: type[_BatchNorm], kind: type[_BatchNorm]) -> None:
    old, new, held = _fresh(former, layer), _fresh(kind, layer), vars(layer)
    _replace(held, old, new)
    for place in _PLACES:
        _replace(held[place], old[place], new[place])


def _replace(held: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> None:
    for name in old.keys() - new.keys():
        held.pop(name, None)
    for name in new.keys() - old.keys():
        held.setdefault(name, new[name])


def _fresh(kind: type[_BatchNorm], layer: _BatchNorm) -> dict[str, Any]:
    """The attributes of a new layer of this class and size."""
    affine, track = layer.affine, layer.track_running_stats
    device = next((t.device for t in (*layer.parameters(), *layer.buffers())), torch.device("cpu"))
    return vars(kind(layer.num_features, layer.eps, layer.momentum, affine, track, device=device))


def _fit_running_stats(layer: _BatchNorm) -> None:
    """Give the running statistics the dtype that the layer's class keeps them in."""
    weight: Tensor | None = layer.weight
    if isinstance(layer, EvenBatchNorm):
        layer._widen()
    elif weight is not None and torch.finfo(weight.dtype).bits < _WIDE_BITS:
        for name in ("running_mean", "running_var"):
            held = layer._buffers[name]
            layer._buffers[name] = None if held is None else held.to(weight.dtype)
