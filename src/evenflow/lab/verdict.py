"""What came of a claim: its checks, and the word that follows from them by rule."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from evenflow.errors import ClaimError
from evenflow.lab.prediction import Range

Word = Literal["supported", "refuted", "depends", "inconclusive"]
LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Check:
    """One effect beside its predicted range.

    Attributes:
        name: Its name in the prediction.
        effect: What was measured, in words, with its unit.
        estimate: The effect.
        low: Lower end of its 95 % interval.
        high: Upper end.
        expected: The predicted range.
        n: Number of independent values behind it.
        p: Probability, were the word wrong, of data that speak for it as clearly; None where nothing is random.
        size: Standardised effect size (Cohen's d of the paired differences, or h of shares); None where there is none.
    """

    name: str
    effect: str
    estimate: float
    low: float
    high: float
    expected: Range
    n: int
    p: float | None = None
    size: float | None = None

    @property
    def word(self) -> Word:
        """Supported when the interval lies in the range, refuted when outside; both only with p below 0.05."""
        if self.p is not None and not self.p <= LEVEL:
            return "inconclusive"
        if self.low in self.expected and self.high in self.expected:
            return "supported"
        if self.high < self.expected.low or self.low > self.expected.high:
            return "refuted"
        return "inconclusive"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The word on a claim and what it rests on.

    Attributes:
        word: "supported", "refuted", "depends" or "inconclusive".
        summary: What was found, in a sentence or two with numbers.
        checks: The effects.
    """

    word: Word
    summary: str
    checks: tuple[Check, ...]

    @property
    def p(self) -> float | None:
        """The largest p of the checks, since all must hold; None where none is random."""
        return max((check.p for check in self.checks if check.p is not None), default=None)

    def to_dict(self) -> dict[str, Any]:
        """The verdict as nested dicts."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Verdict":
        """The verdict that `to_dict` told."""
        checks = tuple(Check(**{**check, "expected": Range(**check["expected"])}) for check in told["checks"])
        return cls(told["word"], told["summary"], checks)


def judge(checks: Sequence[Check], summary: str) -> Verdict:
    """Give the verdict that follows from the checks.

    Supported when all are, refuted when all are, *depends* when some are supported and the others refuted;
    inconclusive when any is.

    Args:
        checks: The effects, one for each range of the prediction.
        summary: What was found, in a sentence or two with numbers.

    Raises:
        ClaimError: There is no check.

    Examples:
        >>> far = Check("speed", "steps, ratio", 3.0, 2.5, 3.5, Range(low=2.0), n=8, p=0.001)
        >>> judge([far], "Three times as fast.").word
        'supported'
    """
    if not checks:
        raise ClaimError("a verdict needs at least one check")
    words = {check.word for check in checks}
    word: Word = "inconclusive" if "inconclusive" in words else words.pop() if len(words) == 1 else "depends"
    return Verdict(word, summary, tuple(checks))
