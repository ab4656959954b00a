"""The report model: diagnoses, treatments and training runs, from which text, pages and figures are drawn."""

import math
from dataclasses import dataclass

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.errors import ParameterValueError

TARGET_ACCURACY = 0.9


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of one training run.

    Attributes:
        label: Label of the run.
        accuracy: Test accuracy at the last measured step, in [0, 1]; None where nothing was measured.
        loss: Loss at the last measured step; None likewise.
        steps_to_target: First measured step with at least `TARGET_ACCURACY`; None for never.
    """

    label: str
    accuracy: float | None
    loss: float | None
    steps_to_target: int | None


@dataclass(frozen=True, slots=True)
class Curve:
    """One training run.

    Attributes:
        label: What was trained, such as "untreated".
        steps: Steps at which it was measured, ascending.
        loss: Training loss at these steps.
        accuracy: Accuracy on the test data at these steps, in [0, 1].

    Raises:
        ParameterValueError: The three have different lengths.
    """

    label: str
    steps: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]

    def __post_init__(self) -> None:
        lengths = (len(self.steps), len(self.loss), len(self.accuracy))
        if len(set(lengths)) > 1:
            raise ParameterValueError(
                f"steps, loss and accuracy of a Curve must have the same length; got {lengths} for "
                f"{self.label!r}: "
                "measure loss and accuracy at the same steps"
            )

    def outcome(self) -> Outcome:
        """Final figures of the run.

        Examples:
            >>> Curve("treated", (0, 50, 100), (2.3, 0.5, 0.1), (0.1, 0.91, 0.95)).outcome()
            Outcome(label='treated', accuracy=0.95, loss=0.1, steps_to_target=50)
        """
        reached = (s for s, a in zip(self.steps, self.accuracy, strict=True) if a >= TARGET_ACCURACY)
        return Outcome(
            label=self.label,
            accuracy=self.accuracy[-1] if self.accuracy else None,
            loss=self.loss[-1] if self.loss else None,
            steps_to_target=next(reached, None),
        )


@dataclass(frozen=True, slots=True)
class Case:
    """One network: what it had, what was done, what came of it.

    Attributes:
        title: Name of the case.
        subtitle: One line about it; may be empty.
        before: Diagnosis of the network as it came.
        after: Diagnosis after the treatment; None when it was not treated.
        treatment: What was done, in sentences; empty for the prescription of `before`.
        code: Python that does it; empty for the prescription's.
        curves: Training runs, the untreated one first.
    """

    title: str
    subtitle: str
    before: Diagnosis
    after: Diagnosis | None = None
    treatment: tuple[str, ...] = ()
    code: str = ""
    curves: tuple[Curve, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The treatment, or what the diagnosis prescribes, in sentences."""
        return self.treatment or tuple(self.before.prescription.describe())

    @property
    def script(self) -> str:
        """The treatment, or what the diagnosis prescribes, as Python."""
        return self.code or self.before.prescription.to_code()

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """Final figures of its training runs."""
        return tuple(curve.outcome() for curve in self.curves)


@dataclass(frozen=True, slots=True)
class Report:
    """Several cases under one title.

    Attributes:
        title: Title of the report.
        cases: The cases, in the order in which they are shown.
        footnotes: Sentences at the end of the page: conditions, seeds, caveats.

    Raises:
        ParameterValueError: There is no case.
    """

    title: str
    cases: tuple[Case, ...]
    footnotes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.cases:
            raise ParameterValueError(
                "cases of a Report must hold at least one Case; got none: add a diagnosis to show"
            )

    @classmethod
    def of(cls, diagnosis: Diagnosis) -> "Report":
        """The report on one diagnosis."""
        return cls(title=diagnosis.record.model, cases=(Case(diagnosis.record.model, "", diagnosis),))


def parameter_count(diagnosis: Diagnosis) -> int:
    """Number of parameter elements in the layers that the forward pass reached; shared ones count once."""
    shapes = {p.name: p.shape for layer in diagnosis.layers for p in layer.parameters}
    return sum(math.prod(shape) for shape in shapes.values())
