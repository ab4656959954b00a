"""What the data that reach a layer say about each channel, over many batches."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow.errors import NonFiniteError
from evenflow.norm.masked import MaskedBatchNorm
from evenflow.norm.statistics import Statistics, merge, statistics_of
from evenflow.norm.sync import SyncBatchNorm


class Population:
    """The statistics of everything that reaches some layers while it is active as a context manager.

    Args:
        layers: The layers, by their qualified names.
        progress: Tells how many batches came before, for messages.
    """

    def __init__(self, layers: dict[str, _BatchNorm], progress: Callable[[], int]) -> None:
        self._layers, self._progress = layers, progress
        self._found: dict[str, Statistics] = {}
        self._order: list[str] = []
        self._hooks = ExitStack()

    def __enter__(self) -> Self:
        for name, layer in self._layers.items():
            handle = layer.register_forward_pre_hook(self._look(name), with_kwargs=True)
            self._hooks.callback(handle.remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._hooks.close()

    @property
    def order(self) -> Sequence[str]:
        """The layers that were reached, in the order in which they were first."""
        return self._order

    def statistics(self) -> dict[str, Statistics]:
        """Mean and biased variance of each layer that was reached, over all processes that share them."""
        return {name: _of_all_processes(self._layers[name], found) for name, found in self._found.items()}

    def _look(self, name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x: Tensor = args[0] if args else kwargs["input"]
            new = statistics_of(_wide(x.detach()), _mask(layer, args, kwargs))
            if not bool(new.mean.isfinite().all() and new.variance.isfinite().all()):
                raise NonFiniteError(
                    f"batch {self._progress()} brings NaN or infinity to {name}; the running statistics were not "
                    "changed. Find what made the data non-finite, as with evenflow.check"
                )
            if name not in self._found:
                self._order.append(name)
            self._found[name] = merge([self._found[name], new]) if name in self._found else new

        return hook


def _wide(x: Tensor) -> Tensor:
    return x if x.device.type == "mps" else x.double()  # that device knows no float64


def _mask(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    if not isinstance(layer, MaskedBatchNorm):
        return None
    mask: Tensor | None = args[1] if len(args) > 1 else kwargs.get("mask")
    return None if mask is None else mask.unsqueeze(1)


def _of_all_processes(layer: nn.Module, own: Statistics) -> Statistics:
    if not isinstance(layer, (SyncBatchNorm, nn.SyncBatchNorm)) or not dist.is_available() or not dist.is_initialized():
        return own
    group: Any = layer.process_group
    packed = torch.cat([own.mean, own.variance, own.count.reshape(1)])
    everyone = [torch.empty_like(packed) for _ in range(dist.get_world_size(group))]
    dist.all_gather(everyone, packed, group=group)
    channels = len(own.mean)
    return merge([Statistics(each[:channels], each[channels:-1], each[-1]) for each in everyone])
