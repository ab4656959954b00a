"""What all clippers share: steps, reports, history, state, and the way into an optimizer."""

import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from evenflow import checks
from evenflow.clip.gradients import Gradients, Parameters, gradients_from
from evenflow.clip.named import Named, named_parameters
from evenflow.clip.nonfinite import drop_gradients_, refuse_nonfinite, zero_nonfinite_
from evenflow.clip.norms import Norms, combined, norms
from evenflow.clip.report import NAMED, ClipReport, from_state, is_finite, to_state
from evenflow.clip.suggestion import Suggestion, suggestion
from evenflow.clip.unscale import unscale_
from evenflow.errors import ParameterTypeError, ParameterValueError, StateError
from evenflow.faces import face

POLICIES = ["skip", "zero", "raise", "leave", "propagate"]


@dataclass(frozen=True, slots=True)
class Found:
    """Gradients, the norm of each, and that of all; whether that is the norm of what was computed, to learn from."""

    gradients: Gradients
    sizes: Norms
    total: float
    sound: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `Clipper._clip` did; the fields are those of `ClipReport`."""

    clipped_norm: float
    measure: float
    threshold: float
    factor: float
    clipped: int
    parts: int = 1


class Clipper(ABC):
    """A clipper with a memory.

    Attributes:
        steps: How many steps it has seen.
        fired: In how many of them it clipped.
        skipped: In how many of them the gradients were not finite and the step was skipped.
    """

    _settings: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, parameters: Parameters | Optimizer, *, nonfinite: str, accumulate: int, history: int, scaler: object
    ) -> None:
        if scaler is not None and not isinstance(scaler, torch.amp.GradScaler):
            raise ParameterTypeError(f"scaler must be a torch.amp.GradScaler or None; got {type(scaler).__name__}")
        self._named: Named = named_parameters(parameters)
        self.nonfinite = checks.choice("nonfinite", nonfinite, POLICIES)
        self.accumulate = checks.integer("accumulate", accumulate, low=1)
        self._history: deque[ClipReport] = deque(maxlen=checks.integer("history", history, low=1))
        self.scaler = scaler
        self.steps = self.fired = self.skipped = 0
        self._backwards = 0
        self._handle: RemovableHandle | None = None
        self._optimizer: Optimizer | None = None

    @abstractmethod
    def _clip(self, found: Found) -> Outcome:
        """Clip the gradients and learn from them."""

    @property
    def _order(self) -> float:
        """Order of the norms in the reports."""
        return 2.0

    def _measured(self, gradients: Gradients) -> Found:
        """Measure the gradients; refuse what cannot be clipped."""
        sizes = norms(gradients, self._order, None)
        return Found(gradients, sizes, float(combined(sizes, self._order)))

    def step(self, optimizer: Optimizer | None = None) -> ClipReport | None:
        """Clip the gradients; to be called after `backward()`.

        Args:
            optimizer: The optimizer of the parameters, which a GradScaler needs to unscale their gradients. Not needed
                where the clipper is attached to it.

        Returns:
            What was found and done; None while gradients are still being accumulated.

        Raises:
            NonFiniteError: A gradient is not finite and the policy is "raise". Nothing was changed.
            ScaledGradientsError: The gradients are scaled and cannot be unscaled.
            TensorDtypeError: A gradient has a dtype that cannot be clipped so.
        """
        if (self._backwards + 1) % self.accumulate:
            self._backwards += 1
            return None
        report = self._step(optimizer or self._optimizer)
        self._backwards = 0
        return report

    @torch.no_grad()
    def _step(self, optimizer: Optimizer | None) -> ClipReport:
        doomed = unscale_(self._named.parameters, optimizer, self.scaler)
        found = self._measured(gradients_from(self._named.parameters, self._named.pairs))
        if doomed:
            return self._reported(found, found, _nothing(found.total, skipped=True), skipped=True)
        if math.isfinite(found.total):
            return self._reported(found, found, self._clip(found), skipped=False)
        return self._without_finite_norm(found)

    def _without_finite_norm(self, found: Found) -> ClipReport:
        usable, skipped = found, self.nonfinite == "skip"
        if self.nonfinite == "raise":
            refuse_nonfinite(found.gradients, self._order)
        if self.nonfinite == "skip":
            drop_gradients_(self._named.pairs)
        if self.nonfinite == "zero":
            zero_nonfinite_(found.gradients)
            usable = replace(self._measured(found.gradients), sound=False)
        passive = self.nonfinite in {"skip", "leave"}
        outcome = _nothing(found.total, skipped=skipped) if passive else self._clip(usable)
        return self._reported(found, usable, outcome, skipped=skipped)

    def _reported(self, found: Found, usable: Found, outcome: Outcome, *, skipped: bool) -> ClipReport:
        """Write down a step in which `found` was there, and `usable` after what is not finite was set to zero."""
        fired = outcome.clipped > 0
        bad = np.flatnonzero(~np.isfinite(found.sizes)).tolist()
        origins = found.gradients.origins()
        self.steps += 1
        self.fired += fired
        self.skipped += skipped
        # With the oldest, for which there is no room, left out.
        recent = [report.fired for report in self._history][1 - (self._history.maxlen or 1) :]
        recent = [*(recent if self._history.maxlen != 1 else []), fired]
        report = ClipReport(
            step=self.steps,
            norm=found.total,
            clipped_norm=outcome.clipped_norm,
            measure=outcome.measure,
            threshold=outcome.threshold,
            factor=outcome.factor,
            fired=fired,
            skipped=skipped,
            clipped=outcome.clipped,
            parts=outcome.parts,
            nonfinite=tuple(self._named.pairs[origins[place]][0] for place in bad[:NAMED]),
            nonfinite_count=len(bad),
            largest=self._largest(origins, usable.sizes),
            rate=sum(recent) / len(recent),
        )
        self._history.append(report)
        return report

    def _largest(self, origins: Sequence[int], sizes: Norms) -> tuple[tuple[str, float], ...]:
        known = np.where(np.isfinite(sizes), sizes, 0.0)
        total = float(combined(known, self._order))
        if total == 0 or not math.isfinite(total):
            return ()
        shares = (known / total) ** (1.0 if math.isinf(self._order) else self._order)
        first = np.argsort(-shares, kind="stable")[:NAMED]
        return tuple((self._named.pairs[origins[place]][0], float(shares[place])) for place in first)

    @property
    def last_report(self) -> ClipReport | None:
        """Report on the last step; None before the first."""
        return self._history[-1] if self._history else None

    @property
    def history(self) -> tuple[ClipReport, ...]:
        """Reports on the last steps, the oldest first."""
        return tuple(self._history)

    @property
    def clip_rate(self) -> float:
        """Share of the steps in the history in which something was clipped; 0 before the first."""
        return self._history[-1].rate if self._history else 0.0

    def suggest(self) -> Suggestion:
        """Suggest a threshold from the history: one that ordinary steps do not reach.

        Returns:
            The threshold, its reason, and the share of past steps beyond it.

        Raises:
            HistoryError: The history holds fewer than 20 steps with finite gradients.
        """
        return suggestion([report.measure for report in self._history if is_finite(report)])

    def attach(self, optimizer: Optimizer) -> RemovableHandle:
        """Clip before every `optimizer.step()`, whoever calls it: a loop, a GradScaler, a trainer.

        A closure that computes the gradients inside of the step is followed by clipping. `step()` is then not to be
        called; with accumulated gradients, `optimizer.step()` says when they are complete.

        Args:
            optimizer: An optimizer of the clipper's parameters.

        Returns:
            A handle whose `remove()` detaches the clipper.

        Raises:
            ParameterTypeError: It is not a `torch.optim.Optimizer`.
            ParameterValueError: It has none of the clipper's parameters, or the clipper is attached already.
        """
        if not isinstance(optimizer, Optimizer):
            raise ParameterTypeError(f"optimizer must be a torch.optim.Optimizer; got {type(optimizer).__name__}")
        if self._optimizer is not None:
            raise ParameterValueError("the clipper is attached to an optimizer already; call detach() first")
        theirs = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        if theirs.isdisjoint(map(id, self._named.parameters)):
            raise ParameterValueError(
                "optimizer has none of the clipper's parameters; make both from the same model, the clipper after the "
                "model is where it will be trained"
            )
        self._optimizer = optimizer
        self._handle = optimizer.register_step_pre_hook(self._before_step)
        return _Handle(self)

    def detach(self) -> None:
        """Clip no longer by itself; nothing happens where it is not attached."""
        if self._handle is not None:
            self._handle.remove()
        self._handle = self._optimizer = None

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if "grad_scaler" in kwargs:
            unscale_(self._named.parameters, optimizer, kwargs["grad_scaler"])
        if closure is None:
            self._step(optimizer)
            return None

        def then_clip() -> Any:
            loss = closure()
            self._step(optimizer)
            return loss

        return (args[0], then_clip, *args[2:]), {key: value for key, value in kwargs.items() if key != "closure"}

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next decisions depend on, in plain numbers, strings, lists and dictionaries.

        Training that is stopped and goes on from this state clips as if it had never stopped.
        """
        return {
            "kind": type(self).__name__,
            "settings": {name: getattr(self, name) for name in (*self._settings, "nonfinite", "accumulate")},
            "counts": {name: getattr(self, name) for name in ("steps", "fired", "skipped", "_backwards")},
            "memory": self._memory(),
            "history": [to_state(report) for report in self._history],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, settings included, as optimizers do.

        Args:
            state_dict: From a clipper of the same class.

        Raises:
            StateError: It is from another class, or incomplete. Nothing was changed.
        """
        wanted = {"kind", "settings", "counts", "memory", "history"}
        if not isinstance(state_dict, dict) or state_dict.keys() != wanted:
            raise StateError(f"state_dict must have the keys {sorted(wanted)}; got {state_dict!r:.200}")
        if state_dict["kind"] != type(self).__name__:
            raise StateError(
                f"state_dict is that of a {state_dict['kind']}; load it into one, not {type(self).__name__}"
            )
        mine = self.state_dict()
        for part in ("settings", "counts", "memory"):
            if not isinstance(state_dict[part], dict) or state_dict[part].keys() != mine[part].keys():
                raise StateError(f"{part} must have the keys {sorted(mine[part])}; got {state_dict[part]!r:.200}")
        reports = [from_state(report) for report in state_dict["history"]]
        self._remember(state_dict["memory"])
        for name, value in (state_dict["settings"] | state_dict["counts"]).items():
            setattr(self, name, value)
        self._history.clear()
        self._history.extend(reports)

    def _memory(self) -> dict[str, Any]:
        """Return what the clipper has learnt."""
        return {}

    def _remember(self, memory: dict[str, Any]) -> None:
        """Take over what `_memory` returned, all of it or nothing."""
        if memory:
            raise StateError(f"a {type(self).__name__} has no memory beside its history; got {sorted(memory)}")

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Write a self-contained page that draws the history (no script, no network) and return its path.

        Raises:
            MissingExtraError: The extra `evenflow[report]` is not installed.
            OSError: The file cannot be written.
        """
        target = Path(path)
        target.write_text(face("clipping")(self), encoding="utf-8")
        return target

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._settings)
        return f"<{type(self).__name__}({settings}): {self.steps} steps, {self.fired} clipped, {self.skipped} skipped>"


class _Handle(RemovableHandle):
    """Detaches a clipper."""

    def __init__(self, clipper: Clipper) -> None:
        self.clipper = clipper

    def remove(self) -> None:
        self.clipper.detach()


def _nothing(total: float, *, skipped: bool) -> Outcome:
    return Outcome(math.nan if skipped else total, total, math.nan, 1.0, 0)
