"""Several micro-batches on their way through one model in step, so that each layer sees the statistics of all.

Each micro-batch has a seat at the table, and a thread. Only one thread runs at a time: it goes on to the next layer
that shares statistics, lays its own down and wakes the next seat; the last one merges them and wakes the first. So the
order of everything, random numbers included, is fixed.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from evenflow.errors import BatchError, ModelError
from evenflow.norm.statistics import Statistics, merge

_here = threading.local()


class AbandonedError(BaseException):
    """Another seat failed. No `Exception`, so that no model takes it for one of its own."""


class Shared(NamedTuple):
    """What one micro-batch brought to a layer and what it got, kept for a recomputation of the same call."""

    own: Statistics
    merged: Statistics
    with_graph: bool


class Table:
    """The seats of micro-batches that share statistics.

    Args:
        seats: Number of micro-batches.
    """

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self._turns = [threading.Semaphore(0) for _ in range(seats)]
        self._laid: list[tuple[nn.Module, Statistics]] = []
        self._merged: Statistics | None = None
        self._finished = 0
        self._failed = False
        self._calls: dict[nn.Module, list[Shared]] = {}

    def start(self) -> None:
        """Let the first seat run."""
        self._turns[0].release()

    def take(self, index: int, call: Callable[[], Any]) -> Any:
        """Run the micro-batch of this seat in the calling thread; its layers find the seat by `current_seat`."""
        self._wait(index)
        _here.seat = Seat(self, index)
        try:
            output = call()
            self._leave(index)
        except BaseException:
            self._fail()
            raise
        finally:
            _here.seat = None
        return output

    def share(self, index: int, layer: nn.Module, own: Statistics) -> Statistics:
        """Lay down the statistics of one micro-batch and return those of all, once all are there."""
        if self._finished or (self._laid and self._laid[0][0] is not layer):
            self._part_ways(layer)
        self._laid.append((layer, own))
        if len(self._laid) == self.seats:
            self._merged = _merge_apart([statistics for _, statistics in self._laid])
            self._laid = []
        self._wake_after(index)
        self._wait(index)
        assert self._merged is not None  # the last seat has merged before it woke the first
        calls = self._calls.setdefault(layer, [])
        calls.append(Shared(_detached(own), _detached(self._merged), torch.is_grad_enabled()))
        layer.shared_calls = calls  # type: ignore[assignment]  # a module may hold it
        return self._merged

    def _leave(self, index: int) -> None:
        if self._laid:
            self._part_ways(self._laid[0][0])
        self._finished += 1
        if self._finished < self.seats:
            self._wake_after(index)

    def _wake_after(self, index: int) -> None:
        self._turns[(index + 1) % self.seats].release()

    def _wait(self, index: int) -> None:
        self._turns[index].acquire()
        if self._failed:
            raise AbandonedError

    def _fail(self) -> None:
        self._failed = True
        for turn in self._turns:
            turn.release()

    def _part_ways(self, layer: nn.Module) -> None:
        raise BatchError(
            f"the micro-batches took different ways through the model: not all of them came to {layer} at the same "
            "point. Give each layer the same calls for each micro-batch"
        )


@dataclass(frozen=True)
class Seat:
    """The place of one micro-batch at a table."""

    table: Table
    index: int

    def is_last(self) -> bool:
        """Tell whether all other micro-batches have passed the layer that this one is in."""
        return self.index == self.table.seats - 1

    def share(self, layer: nn.Module, own: Statistics) -> Statistics:
        """Return the statistics of all micro-batches, waiting for theirs."""
        return self.table.share(self.index, layer, own)


def current_seat() -> Seat | None:
    """Return the seat of the micro-batch that this thread runs, if it shares statistics. Compiled code has none."""
    return None if torch.compiler.is_compiling() else getattr(_here, "seat", None)


def recall(calls: Sequence[Shared], own: Statistics) -> Statistics:
    """Return what the micro-batch with these statistics got when they were shared, for a recomputation.

    Raises:
        ModelError: It cannot be known, or gradients could not flow through it.
    """
    for call in calls:
        if own.is_of(call.own.mean, call.own.variance):
            if not call.with_graph:
                raise ModelError(
                    "reentrant checkpointing builds its graph after the micro-batches have shared their statistics: "
                    "no gradient would flow through those. Call torch.utils.checkpoint with use_reentrant=False"
                )
            return call.merged
    raise ModelError(
        "a recomputation under checkpointing gave other statistics than the forward pass: something in the model is "
        "random or has changed since. Keep preserve_rng_state=True"
    )


def _merge_apart(parts: list[Statistics]) -> Statistics:
    """Merge with the tensors that autograd saves kept from checkpointing, whose recomputation merges nothing."""

    def same(tensor: Tensor) -> Tensor:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(same, same):
        return merge(parts)


def _detached(statistics: Statistics) -> Statistics:
    return Statistics(statistics.mean.detach(), statistics.variance.detach(), statistics.count)
