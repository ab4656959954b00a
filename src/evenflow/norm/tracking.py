"""How a layer's running statistics move: by which convention, in which dtype, and when not at all."""

from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from evenflow import checks
from evenflow.norm.group import Group
from evenflow.norm.moments import BatchMoments
from evenflow.norm.tracing import is_recomputation, values_are_hidden

_RUNNING = ("running_mean", "running_var")
_GROUP = ("group_mean", "group_var", "group_count", "group_batches")


class TrackingNorm(_BatchNorm):
    """The running statistics of a batch normalisation. Its options are described at `EvenBatchNorm`.

    The values here are those of a layer that was made by torch and has become one of these since.
    """

    on_nonfinite: str = "propagate"
    running_variance: str = "unbiased"
    statistics_dtype: torch.dtype | None = None
    frozen: bool = False
    _accumulate: int = 1

    @property
    def accumulate(self) -> int:
        """How many batches count as one in the running statistics. Setting it forgets the batches of a part."""
        return self._accumulate

    @accumulate.setter
    def accumulate(self, batches: int) -> None:
        self._accumulate = checks.integer("accumulate", batches, low=1)
        self._reset_group()

    def finish_accumulation(self) -> None:
        """Let the batches since the last whole group count as one batch now, as at the end of an epoch.

        Nothing happens where there are none.
        """
        if self.accumulate == 1 or not self._is_tracking():
            return
        group = self._group()
        moments = group.moments()
        self._move(moments, self._acceptable(moments, group.batches > 0))
        group.clear_()

    def reset_running_stats(self) -> None:
        """Set the running statistics to 0 and 1, and forget the batches of an unfinished group."""
        super().reset_running_stats()
        self._reset_group()

    def _track(self, *batches: BatchMoments) -> None:
        """Move the running statistics by each batch, unless these have moved them already or must not."""
        if is_recomputation():
            return
        if self.on_nonfinite == "raise":
            for moments in batches:
                moments.require_finite()
        if self._is_tracking():
            for moments in batches:
                self._track_one(moments)

    def _track_one(self, moments: BatchMoments) -> None:
        accept = None if moments.valid is None else moments.valid > 1
        if self.accumulate > 1:
            moments, accept = self._group().add_(moments, self.accumulate, accept)
        self._move(moments, self._acceptable(moments, accept))

    def _is_tracking(self) -> bool:
        return self.track_running_stats and self.running_mean is not None and self.running_var is not None

    def _acceptable(self, moments: BatchMoments, accept: Tensor | None) -> Tensor | None:
        if self.on_nonfinite != "skip":
            return accept
        finite = moments.finite().all()
        return finite if accept is None else accept & finite

    def _move(self, moments: BatchMoments, accept: Tensor | None) -> None:
        assert self.running_mean is not None and self.running_var is not None  # noqa: PT018
        weight = self._weight_of_new_value()
        variance = moments.variance if self.running_variance == "unbiased" else moments.biased()
        running, new = [self.running_mean, self.running_var], [moments.mean, variance]
        if (
            accept is None
            and isinstance(weight, float)
            and {old.dtype for old in running} == {value.dtype for value in new}
            and not values_are_hidden()
            and not any(old.is_neg() for old in running)
        ):
            torch._foreach_lerp_(running, new, weight)  # both in one call, for small batches
        else:
            for old, value in zip(running, new, strict=True):
                moments.update_(old, value, weight, accept)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1 if accept is None else accept)

    def _weight_of_new_value(self) -> float | Tensor:
        if self.momentum is not None:
            return self.momentum
        if self.num_batches_tracked is None:
            return 0.0
        return 1 / (self.num_batches_tracked + 1).to(self.running_mean)

    def _group(self) -> Group:
        return Group(*(getattr(self, name) for name in _GROUP))

    def _reset_group(self) -> None:
        """Make an empty group. It is no part of the state dict, which is torch's."""
        mean: Any = self.running_mean  # torch declares that there is one
        if self.accumulate == 1 or not self._is_tracking() or is_lazy(mean):
            for name in _GROUP:
                self._buffers.pop(name, None)
                self._non_persistent_buffers_set.discard(name)
        elif _GROUP[0] in self._buffers:
            self._group().clear_()
        else:
            assert self.running_mean is not None
            for name, buffer in zip(_GROUP, Group.empty(self.running_mean), strict=True):
                self.register_buffer(name, buffer, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = dict(self._buffers)
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # torch leaves it bare
        self._widen(before)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load as torch does; the batches of an unfinished group were of other statistics, and are forgotten."""
        super()._load_from_state_dict(*args, **kwargs)
        self._widen()
        self._reset_group()

    def _widen(self, source: dict[str, Tensor | None] | None = None) -> None:
        """Bring narrow statistics back to the least dtype, from `source` where that kept more digits."""
        least = self.statistics_dtype or torch.float32
        for name in (*_RUNNING, *_GROUP[:2]):
            now = self._buffers.get(name)
            if now is None or torch.finfo(now.dtype).bits >= torch.finfo(least).bits:
                continue
            kept = None if source is None else source[name]
            self._buffers[name] = (now if kept is None else kept).to(device=now.device, dtype=least)
