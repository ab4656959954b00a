"""What a claim predicts: ranges that are fixed before the run, and hashed into the result."""

import json
import math
from dataclasses import dataclass
from hashlib import blake2b

from evenflow.errors import ClaimError


@dataclass(frozen=True, slots=True)
class Range:
    """The closed interval in which an effect is predicted to lie.

    Attributes:
        low: Lower end; -inf for none.
        high: Upper end; inf for none.

    Examples:
        >>> str(Range(0.5, 2.0)), str(Range(high=-1.0))
        ('0.5 to 2', 'at most -1')
    """

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ClaimError(f"a range must have low <= high; got {self.low} and {self.high}")

    def __contains__(self, value: float) -> bool:
        """Whether a value lies in the interval; NaN does not."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        """The interval in words."""
        if self.low == self.high:
            return f"{self.low:g}"
        if math.isinf(self.low):
            return "any" if math.isinf(self.high) else f"at most {self.high:g}"
        return f"at least {self.low:g}" if math.isinf(self.high) else f"{self.low:g} to {self.high:g}"


class Prediction:
    """A sentence and the range of every effect that the verdict will look at.

    Args:
        text: What will be seen, for a reader.
        ranges: For each effect, by the name of its check: (low, high), None for an open end.

    Raises:
        ClaimError: There is no range, or one is not a pair of numbers in order.

    Examples:
        >>> prediction = Prediction("Twice as fast, at least.", speed=(2, None))
        >>> prediction["speed"]
        Range(low=2.0, high=inf)
    """

    def __init__(self, text: str, **ranges: tuple[float | None, float | None]) -> None:
        if not ranges:
            raise ClaimError("a prediction must give the range of at least one effect, such as speed=(2, None)")
        self.text = text
        self.ranges = {name: _range(name, ends) for name, ends in ranges.items()}

    def __getitem__(self, name: str) -> Range:
        """The range of an effect.

        Raises:
            ClaimError: Nothing was predicted about it.
        """
        if name not in self.ranges:
            raise ClaimError(
                f"nothing was predicted about {name!r}; the prediction names {', '.join(self.ranges)}: add its range, "
                "before the run"
            )
        return self.ranges[name]

    def digest(self, statement: str) -> str:
        """A hash of the statement, the sentence and the ranges: 16 hexadecimal digits."""
        ranges = {name: [str(r.low), str(r.high)] for name, r in sorted(self.ranges.items())}
        told = json.dumps([statement, self.text, ranges])
        return blake2b(told.encode(), digest_size=8).hexdigest()


def _range(name: str, ends: tuple[float | None, float | None]) -> Range:
    if not isinstance(ends, tuple) or len(ends) != 2:
        raise ClaimError(f"the range of {name!r} must be (low, high) with None for an open end; got {ends!r}")
    low, high = ends
    return Range(-math.inf if low is None else float(low), math.inf if high is None else float(high))
