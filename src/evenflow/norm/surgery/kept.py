"""What an operation left as it was, and why."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kept:
    """A layer that was left as it was.

    Attributes:
        name: Its qualified name.
        reason: Why, as the end of a sentence that begins with the name.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name or 'the model itself'}: {self.reason}"


def listed(title: str, lines: Iterable[object]) -> str:
    """A title and one line for each thing below it; nothing where there are none.

    Examples:
        >>> print(listed("kept", ["a: why", "b: why"]))
        kept
          a: why
          b: why
    """
    shown = [f"  {line}" for line in lines]
    return "\n".join([title, *shown]) if shown else ""
