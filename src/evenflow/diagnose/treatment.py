"""Apply a prescription, measure again, and keep the change only when it helped."""

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from evenflow.diagnose.checkup import check
from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.plain import plain
from evenflow.diagnose.treat import Prescription, Remedy, Undo
from evenflow.errors import ParameterTypeError, TreatmentError
from evenflow.probe import unwrapped
from evenflow.probe.loss import LossFunction

ROUNDS = 3


@dataclass(slots=True, eq=False)
class TreatmentRecord:
    """What a treatment did.

    Attributes:
        before: The diagnosis before.
        after: The diagnosis after the last round that was kept; the same as `before` when nothing was kept.
        applied: The remedies that were applied and kept, in order.
        advice: The remedies that only the user can apply: to the data, or to the training loop.
        kept: Whether the model was changed.
        reason: Why it was kept or taken back, in one sentence.
    """

    before: Diagnosis
    after: Diagnosis
    applied: tuple[Remedy, ...]
    advice: tuple[Remedy, ...]
    kept: bool
    reason: str
    _undo: list[Undo] = field(default_factory=list, repr=False)

    def undo(self) -> None:
        """Take the whole treatment back: the model has its former modules and values again.

        Raises:
            TreatmentError: Nothing was kept, or it has been undone already.
        """
        if not self._undo:
            raise TreatmentError("there is nothing to undo: the treatment was not kept, or has been undone already")
        while self._undo:
            self._undo.pop()()
        self.kept = False
        self.reason = "undone"

    def describe(self) -> list[str]:
        """What was applied, and what is advised, one sentence each."""
        return Prescription((*self.advice, *self.applied)).describe()

    def to_code(self) -> str:
        """Python to paste that does what was applied, and what is advised."""
        return Prescription((*self.advice, *self.applied)).to_code()

    def to_dict(self) -> dict[str, Any]:
        """The treatment and the diagnosis after it, as nested dictionaries and lists that JSON can hold."""
        return {
            "kept": self.kept,
            "reason": self.reason,
            "applied": plain(Prescription(self.applied).to_dict()["remedies"]),
            "advice": plain(Prescription(self.advice).to_dict()["remedies"]),
            "after": self.after.to_dict(),
        }


def treat_(
    model: nn.Module,
    prescription: Diagnosis | Prescription,
    batch: object = None,
    loss_fn: LossFunction | None = None,
) -> TreatmentRecord:
    """Apply a prescription in place, check again, and keep it only when findings went and none came.

    When an error remains, the new diagnosis prescribes the next step, in at most three rounds. Remedies for the data or
    the training loop are returned as `advice`.

    Args:
        model: The model that was diagnosed.
        prescription: A diagnosis, whose prescription, batch and loss are used; or a prescription, perhaps edited or
            read from elsewhere, for which `batch` is needed.
        batch: The batch to check on, as in `evenflow.check`; by default the diagnosis' own.
        loss_fn: Likewise.

    Returns:
        A `TreatmentRecord`, which can undo the change.

    Raises:
        TreatmentError: A remedy does not fit the model, or a prescription came without a batch. The model is unchanged.
        EvenflowError: What `evenflow.check` raises. The model is unchanged.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> import evenflow as ef
        >>> _ = torch.manual_seed(0)
        >>> layers = [layer for _ in range(30) for layer in (nn.Linear(64, 64), nn.ReLU())]
        >>> model = nn.Sequential(*layers, nn.Linear(64, 10))
        >>> for layer in model[::2]:
        ...     _ = nn.init.xavier_normal_(layer.weight)
        >>> diagnosis = ef.check(model, (torch.randn(64, 64), torch.randint(10, (64,))))
        >>> diagnosis.ok
        False
        >>> treatment = ef.treat_(model, diagnosis)
        >>> treatment.kept, treatment.after.ok
        (True, True)
        >>> treatment.undo()
    """
    inner = unwrapped(model)
    first, before = _start(inner, prescription, batch, loss_fn)
    loss_fn = before.loss_fn
    undo: list[Undo] = []
    applied: list[Remedy] = []
    advice: list[Remedy] = [remedy for remedy in first.remedies if not remedy.applies_itself]
    after = before
    try:
        for _ in range(ROUNDS):
            remedies = [r for r in first.remedies if r.applies_itself and r not in applied]
            if not remedies:
                break
            for remedy in remedies:
                undo.append(remedy.apply_(inner))
                applied.append(remedy)
            after = check(inner, before.batch, loss_fn)
            if after.ok:
                break
            first = after.prescription
    except BaseException:
        _take_back(undo)
        raise
    better, reason = _judge(before, after, applied)
    if not better:
        _take_back(undo)
        return TreatmentRecord(before, before, (), tuple(advice), False, reason)
    return TreatmentRecord(before, after, tuple(applied), tuple(advice), True, reason, undo)


def _start(
    model: nn.Module, given: Diagnosis | Prescription, batch: object, loss_fn: LossFunction | None
) -> tuple[Prescription, Diagnosis]:
    if isinstance(given, Diagnosis):
        if batch is None and given.batch is None:
            raise TreatmentError("the diagnosis has no batch to check the treatment on; pass batch=")
        if batch is None and loss_fn is None:
            return given.prescription, given
        return given.prescription, check(model, given.batch if batch is None else batch, loss_fn or given.loss_fn)
    if not isinstance(given, Prescription):
        raise ParameterTypeError(
            f"the prescription must be a Diagnosis or a Prescription; got {type(given).__name__}: pass what ef.check "
            "returned"
        )
    if batch is None:
        raise TreatmentError(
            "a prescription alone cannot be checked; pass the batch too: treat_(model, prescription, batch)"
        )
    return given, check(model, batch, loss_fn)


def _judge(before: Diagnosis, after: Diagnosis, applied: list[Remedy]) -> tuple[bool, str]:
    """Whether findings went and none came."""
    if not applied:
        return False, "nothing to apply to the model" if before.prescription else "nothing is prescribed"
    for severity in ("error", "warning"):
        had = {f.rule for f in before.findings if f.severity in ("error", severity)}
        has = {f.rule for f in after.findings if f.severity in ("error", severity)}
        if has - had:
            return False, f"taken back: it brought {', '.join(sorted(has - had))}"
        if had - has:
            return True, f"kept: {', '.join(sorted(had - has))} gone"
    return False, "taken back: every finding remained"


def _take_back(undo: list[Undo]) -> None:
    while undo:
        undo.pop()()
