"""Compute the running statistics of a trained model anew, from data."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from evenflow import checks
from evenflow.errors import BatchError, ModelError, ParameterTypeError
from evenflow.norm.modules import EvenBatchNorm
from evenflow.norm.statistics import Statistics
from evenflow.norm.surgery.kept import Kept, listed
from evenflow.norm.surgery.layers import batch_norms
from evenflow.norm.surgery.population import Population
from evenflow.norm.surgery.progress import watched
from evenflow.norm.surgery.values import require_values
from evenflow.probe.batch import parse_batch
from evenflow.probe.forward import undisturbed
from evenflow.probe.guard import told_as
from evenflow.probe.usable import unwrapped

Run = Callable[[nn.Module, Any], object]


@dataclass(frozen=True)
class Recalibration:
    """What `recalibrate_` did.

    Attributes:
        names: Qualified names of the layers whose statistics are new, in the order in which data reached them.
        kept: The layers that were left as they were, and why.
        batches: How many batches were read.
    """

    names: tuple[str, ...]
    kept: tuple[Kept, ...]
    batches: int
    _former: tuple[tuple[_BatchNorm, dict[str, Tensor]], ...] = field(repr=False)

    def __str__(self) -> str:
        parts = [
            listed(f"recalibrated {len(self.names)} on {self.batches} batches", self.names),
            listed(f"kept {len(self.kept)}", self.kept),
        ]
        return "\n".join(part for part in parts if part) or "there is no BatchNorm to recalibrate"

    def undo(self) -> None:
        """Give the layers back the statistics that they had before."""
        for layer, former in self._former:
            for name, values in former.items():
                layer.get_buffer(name).copy_(values)


def recalibrate_(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    in_turn: bool = False,
    max_batches: int | None = None,
    run: Run | None = None,
    progress: bool = False,
) -> Recalibration:
    r"""Compute the running statistics of every BatchNorm anew, from all batches of a loader.

    With $n_i$ values a channel in batch $i$, of mean $\mu_i$ and variance $\sigma_i^2$, and $N = \sum_i n_i$:

    $$
    \mu = \sum_i \frac{n_i}{N} \mu_i, \qquad
    \sigma^2 = \sum_i \frac{n_i}{N} \bigl( \sigma_i^2 + (\mu_i - \mu)^2 \bigr)
    $$

    in float64: the mean and the variance of all values together, however unequal the batches are. The running variance
    gets the unbiased one, times $N / (N - 1)$, unless the layer keeps the biased.

    The model runs without gradients and in eval mode, so that dropout is off as it will be when the statistics are
    used. What a layer reads depends on those before it, and there are two ways:

    - By default all layers are measured in one pass, each BatchNorm normalising by its batch, as in training and as
      in `torch.optim.swa_utils.update_bn`. In eval mode the layers before it will normalise by their new statistics
      instead, so that what reaches a deep layer then differs a little. A batch that brings one value a channel to a
      layer is an error.
    - `in_turn=True` takes one pass a layer, in the order of execution, with those before it in eval mode on their new
      statistics. Afterwards what reaches each layer in eval mode has exactly the statistics that it keeps (unless
      it is called more than once, and reads what depends on itself).

    Parameters, modes, hooks and random states stay, also when something raises; the statistics are written after the
    last pass, all at once. Frozen layers stay: those with `frozen` set, and those in eval mode inside a model in
    training mode. A layer that is synchronised merges the values of all its processes, of which each has to call this.

    Args:
        model: The model, changed in place.
        loader: Batches: tensors, `(inputs, targets)` or dicts of keyword inputs, of any sizes. For `in_turn` something
            that can be iterated again, such as a DataLoader or a list.
        in_turn: Whether the layers are measured one after the other.
        max_batches: How many batches are read in a pass at most, at least 1; None: all.
        run: Runs the model on a batch of another form, as `run=lambda model, batch: model(batch["image"].cuda())`.
        progress: Whether a bar is shown on standard error.

    Returns:
        What was recalibrated, what was not and why, and the way back.

    Raises:
        BatchError: The loader gives no batch, a batch has another form or is empty, or all bring one value a channel.
        ModelError: The model raises, or has tensors without values.
        NonFiniteError: NaN or infinity reaches a layer.
        ParameterTypeError: The loader is a single batch or cannot be iterated, or not again for `in_turn`.

    Examples:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> batches = [torch.tensor([[0.0], [2.0]]), torch.tensor([[4.0], [4.0], [10.0], [10.0]])]
        >>> print(recalibrate_(model, batches))
        recalibrated 1 on 2 batches
          0
        >>> model[0].running_mean, model[0].running_var
        (tensor([5.]), tensor([17.2000]))

    References:
        Ioffe & Szegedy 2015, "Batch Normalization", Algorithm 2, lines 8 to 10. Chan, Golub & LeVeque 1983.
    """
    model = unwrapped(model)
    limit = None if max_batches is None else checks.integer("max_batches", max_batches, low=1)
    _require_iterable(loader, again=in_turn)
    require_values(model)
    reasons = {name: _why_not(layer, model) for name, layer in batch_norms(model)}
    chosen = {name: layer for name, layer in batch_norms(model) if reasons[name] is None}
    passes = _Passes(model, chosen, loader, limit, run or _run, progress)
    with undisturbed(model), torch.no_grad():
        found = passes.in_turn() if in_turn else passes.together()
    for name, statistics in found.items():
        if statistics.count <= 1:
            raise BatchError(f"only one value a channel reaches {name}, and its variance is 0; nothing was changed")
    reasons |= dict.fromkeys(chosen.keys() - found.keys(), "no batch reached it")
    kept = tuple(Kept(name, reason) for name, reason in reasons.items() if reason is not None)
    former = tuple((chosen[name], _buffers(chosen[name])) for name in found)
    for name, statistics in found.items():
        _write(chosen[name], statistics, passes.batches)
    return Recalibration(tuple(found), kept, passes.batches, former)


class _Passes:
    """Passes over the data, each of which measures some layers. To be used where the model is restored afterwards."""

    def __init__(
        self,
        model: nn.Module,
        layers: dict[str, _BatchNorm],
        loader: Iterable[Any],
        limit: int | None,
        run: Run,
        progress: bool,
    ) -> None:
        self.batches = 0
        self._model, self._layers, self._loader = model, layers, loader
        self._limit, self._run, self._progress = limit, run, progress

    def together(self) -> dict[str, Statistics]:
        """Measure all layers in one pass, each normalising by its batch."""
        self._model.eval()
        for layer in self._layers.values():
            layer.train()
        return self._measure(self._layers, "recalibrating").statistics()

    def in_turn(self) -> dict[str, Statistics]:
        """Measure one layer in a pass, in the order of execution, those before it on their new statistics."""
        self._model.eval()
        first = self._measure(self._layers, "recalibrating, looking for the order")
        found: dict[str, Statistics] = {}
        for place, name in enumerate(first.order):
            title = f"recalibrating layer {place + 1} of {len(first.order)}"
            one = self._measure({name: self._layers[name]}, title) if place else first
            found[name] = one.statistics()[name]
            _write(self._layers[name], found[name], self.batches)
        return found

    def _measure(self, layers: dict[str, _BatchNorm], title: str) -> Population:
        self.batches = 0
        population = Population(layers, lambda: self.batches)
        with population:
            for batch in watched(self._loader, title, self._limit, shown=self._progress):
                with told_as(ModelError, lambda error: f"the model raised {error} on batch {self.batches}"):
                    self._run(self._model, batch)
                self.batches += 1
        if self.batches == 0:
            raise BatchError(
                "the loader gives no batch, so there is nothing to compute statistics from; is it used up?"
            )
        return population


def _run(model: nn.Module, batch: Any) -> None:
    parse_batch(batch).run(model)


def _require_iterable(loader: object, *, again: bool) -> None:
    if isinstance(loader, (Tensor, Mapping)):
        told = f"a tensor of shape {tuple(loader.shape)}" if isinstance(loader, Tensor) else "a dict"
        raise ParameterTypeError(
            f"loader must be an iterable of batches; got {told}, which is one batch. Put it into a list: [batch]"
        )
    if not isinstance(loader, Iterable):
        raise ParameterTypeError(f"loader must be an iterable of batches; got {type(loader).__name__}")
    if again and iter(loader) is loader:
        raise ParameterTypeError(
            f"loader must be iterable again and again for in_turn=True, as a DataLoader or a list; got "
            f"{type(loader).__name__}, which is used up after one pass"
        )


def _why_not(layer: _BatchNorm, model: nn.Module) -> str | None:
    if layer.running_mean is None or layer.running_var is None:
        return "it has no running statistics"
    if getattr(layer, "frozen", False):
        return "it is frozen"
    if model.training and not layer.training:
        return "it is frozen: in eval mode, inside a model in training mode"
    return None


def _buffers(layer: _BatchNorm) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in layer.named_buffers(recurse=False)}


def _write(layer: _BatchNorm, found: Statistics, batches: int) -> None:
    layer.reset_running_stats()
    biased = isinstance(layer, EvenBatchNorm) and layer.running_variance == "biased"
    variance = found.variance if biased else found.variance * (found.count / (found.count - 1).clamp(min=1))
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(found.mean)
    layer.running_var.copy_(variance)
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.fill_(batches)
