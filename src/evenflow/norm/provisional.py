"""`provisional_statistics`: the running statistics of a step, to be committed or rolled back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy


class ProvisionalStatistics:
    """What the running statistics of a model were, as long as they may have to go back there.

    Made by `provisional_statistics`.
    """

    def __init__(self, model: nn.Module) -> None:
        self._layers = [module for module in model.modules() if isinstance(module, _NormBase)]
        self._before: list[dict[str, Tensor]] = []
        self.commit()

    def commit(self) -> None:
        """Keep what the statistics are now: a later `roll_back` comes back to here."""
        self._before = [{name: buffer.clone() for name, buffer in _buffers(layer)} for layer in self._layers]

    def roll_back(self) -> None:
        """Put the statistics back to those at the start, or at the last `commit`."""
        with torch.no_grad():
            for layer, before in zip(self._layers, self._before, strict=True):
                _restore(layer, before)


@contextmanager
def provisional_statistics(model: nn.Module) -> Iterator[ProvisionalStatistics]:
    """Make what batches do to running statistics in this block provisional.

    The block sees them move as always. When it ends they are committed; when it raises, or calls `roll_back()`,
    they are again what they were before, bit for bit: running means and variances, `num_batches_tracked`, and the
    batches of an unfinished group of `accumulate`. Blocks can be nested. Layers of torch take part too, and
    instance normalisation. Parameters and gradients do not.

    Args:
        model: The model, or a single layer.

    Yields:
        An object with `commit()` and `roll_back()`.

    Examples:
        >>> from evenflow.norm import BatchNorm1d
        >>> layer = BatchNorm1d(1)
        >>> with provisional_statistics(layer) as step:
        ...     loss = layer(torch.tensor([[1.0], [float("nan")]])).sum()
        ...     if not loss.isfinite():
        ...         step.roll_back()
        >>> layer.running_mean, layer.num_batches_tracked
        (tensor([0.]), tensor(0))
    """
    step = ProvisionalStatistics(model)
    finished = False
    try:
        yield step
        finished = True
    finally:
        if not finished:
            step.roll_back()


def _buffers(layer: _NormBase) -> Iterator[tuple[str, Tensor]]:
    for name, buffer in layer._buffers.items():
        if buffer is not None and not is_lazy(buffer):
            yield name, buffer


def _restore(layer: _NormBase, before: dict[str, Tensor]) -> None:
    if "running_mean" in before:
        for name, buffer in _buffers(layer):
            if name in before:
                buffer.copy_(before[name])
    else:  # a layer that had no statistics, or a lazy one that has got its shape since
        layer.reset_running_stats()
