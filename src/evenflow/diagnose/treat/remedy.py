"""What every remedy can do: describe itself, print itself as code, apply itself and give back the way to undo it."""

from collections.abc import Callable, Iterable
from typing import ClassVar, Protocol

from torch import nn

Undo = Callable[[], None]


class Remedy(Protocol):
    """One change to a model or to its training loop, as data."""

    kind: ClassVar[str]
    applies_itself: ClassVar[bool]

    def describe(self) -> str:
        """The remedy in one sentence."""
        ...

    def code(self) -> str:
        """Python that does the same to a variable called `model`."""
        ...

    def apply_(self, model: nn.Module) -> Undo:
        """Change the model in place, and return the function that takes the change back."""
        ...

    def to_dict(self) -> dict[str, object]:
        """The remedy as a dictionary that JSON can hold."""
        ...


def some(names: Iterable[str], most: int = 3) -> str:
    """Name a few and count the rest.

    Example:
        >>> some(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
        >>> some(["a", "b"])
        'a and b'
    """
    listed = list(names)
    if len(listed) > most:
        return f"{', '.join(listed[:most])} and {len(listed) - most} more"
    return " and ".join([", ".join(listed[:-1]), listed[-1]] if len(listed) > 1 else listed)
