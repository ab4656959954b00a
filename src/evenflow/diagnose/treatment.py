"""Apply a prescription, measure again, and keep the change only when it helped."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from evenflow.diagnose.checkup import check
from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.plain import plain
from evenflow.diagnose.treat import Prescription, Remedy, Undo
from evenflow.errors import ModelError, ParameterTypeError, TreatmentError
from evenflow.probe import unwrapped
from evenflow.probe.loss import LossFunction

ROUNDS = 3


@dataclass(slots=True, eq=False, repr=False)
class TreatmentRecord:
    """What a treatment did.

    Attributes:
        before: The diagnosis before.
        after: The diagnosis after the last round that was kept; the same as `before` when nothing was kept.
        applied: The remedies that were applied and kept, in order.
        advice: The remedies that only the user can apply: to the data, or to the training loop.
        kept: Whether the model is changed.
        reason: Why it was kept or taken back, in one sentence.
    """

    before: Diagnosis
    after: Diagnosis
    applied: tuple[Remedy, ...]
    advice: tuple[Remedy, ...]
    kept: bool
    reason: str
    _undo: list[Undo] = field(default_factory=list)

    def __repr__(self) -> str:
        verdict = "healthy" if self.after.ok else "sick"
        return f"<Treatment of {self.before.record.model}: {self.reason}; {verdict} now>"

    def undo(self) -> None:
        """Take the whole treatment back: the model has its former modules and values again.

        Raises:
            TreatmentError: Nothing was kept, it has been undone already, or the model was changed at these places
                since.
        """
        if not self._undo:
            raise TreatmentError("there is nothing to undo: the treatment was not kept, or has been undone already")
        _take_back(self._undo)
        self.after, self.kept, self.reason = self.before, False, "undone"

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
    """Apply a prescription in place, check again, and keep it only when errors went and none came.

    Where there was no error, the same holds for warnings. When an error remains, the new diagnosis prescribes the next
    step, in at most three rounds; what came after the last round that helped is taken back. Remedies for the data or
    the training loop are returned as `advice`. Frozen parameters and buffers are never changed. An optimizer that was
    made before does not know the parameters of an inserted BatchNorm: make it after.

    Args:
        model: The model that was diagnosed.
        prescription: A diagnosis, whose prescription, batch and loss are used; or a prescription, perhaps edited or
            read from elsewhere, for which `batch` is needed.
        batch: The batch to check on, as in `evenflow.check`; by default the diagnosis' own.
        loss_fn: Likewise.

    Returns:
        A `TreatmentRecord`, which can undo the change.

    Raises:
        ParameterTypeError: `prescription` is neither a diagnosis nor a prescription.
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
    given, before = _start(inner, prescription, batch, loss_fn)
    advice = tuple(remedy for remedy in given.remedies if not remedy.applies_itself)
    course = _Course(inner, before)
    with ExitStack() as on_failure:
        on_failure.callback(_take_back, course.undo)
        course.run(given)
        on_failure.pop_all()
    return TreatmentRecord(
        before, course.best, tuple(course.applied), advice, bool(course.applied), course.reason, course.undo
    )


class _Course:
    """The rounds of a treatment, of which those that helped are kept.

    Attributes:
        best: The diagnosis after the last round that helped.
        applied: The remedies up to there.
        undo: How they are taken back, in the order in which they were applied.
        reason: What came of it.
    """

    def __init__(self, model: nn.Module, before: Diagnosis) -> None:
        self.model = model
        self.before = self.best = before
        self.applied: list[Remedy] = []
        self.undo: list[Undo] = []
        self.reason = "nothing is prescribed"

    def run(self, prescription: Prescription) -> None:
        """Apply the prescription, and what is prescribed after it while errors remain."""
        if prescription:
            self.reason = "nothing to apply to the model itself; follow the advice"
        tried: list[Remedy] = []
        failures: list[str] = []
        kept = 0
        for _ in range(ROUNDS):
            remedies = [r for r in prescription.remedies if r.applies_itself and r not in tried]
            if not remedies:
                break
            try:
                after = self._apply_and_check(remedies, tried)
            except (ModelError, TreatmentError):
                if not kept:
                    raise
                break
            helped, reason = _compare(self.best, after)
            if helped:
                self.best, kept = after, len(tried)
                _, self.reason = _compare(self.before, after)
            else:
                failures.append(reason)
            if after.ok:
                break
            prescription = after.prescription
        if failures and not kept:
            self.reason = failures[0]
        _take_back(self.undo, down_to=kept)
        self.applied = tried[:kept]

    def _apply_and_check(self, remedies: list[Remedy], tried: list[Remedy]) -> Diagnosis:
        """Apply the remedies in order, and do without the last ones where they break the model."""
        first = len(tried)
        for remedy in remedies:
            self.undo.append(remedy.apply_(self.model))
            tried.append(remedy)
        while True:
            try:
                return check(self.model, self.before.batch, self.before.loss_fn)
            except ModelError:
                if len(tried) <= first + 1:
                    raise
                tried.pop()
                _take_back(self.undo, down_to=len(tried))


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
            f"prescription must be a Diagnosis or a Prescription; got {type(given).__name__}: pass what ef.check gave"
        )
    if batch is None:
        raise TreatmentError(
            "a prescription alone cannot be checked; pass the batch too: treat_(model, prescription, batch)"
        )
    return given, check(model, batch, loss_fn)


def _compare(before: Diagnosis, after: Diagnosis) -> tuple[bool, str]:
    """Whether errors went and none came; where no error went or came, the same of warnings."""
    serious = ("error", "warning")
    for severities in (("error",), serious):
        had, has = _rules(before, severities), _rules(after, severities)
        if has - had:
            return False, f"taken back: it brought {', '.join(sorted(has - had))}"
        if had - has:
            gone = _rules(before, serious) - _rules(after, serious) or had - has
            return True, f"kept: {', '.join(sorted(gone))} gone"
    return False, "taken back: every finding remained"


def _rules(diagnosis: Diagnosis, severities: tuple[str, ...]) -> set[str]:
    return {finding.rule for finding in diagnosis.findings if finding.severity in severities}


def _take_back(undo: list[Undo], down_to: int = 0) -> None:
    while len(undo) > down_to:
        undo[-1]()
        undo.pop()
