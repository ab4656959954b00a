"""Errors of the user's own code, told as errors of evenflow, with the original as their cause."""

from collections.abc import Callable
from types import TracebackType

from evenflow.errors import EvenflowError


class told_as:  # noqa: N801
    """Turn an ordinary exception of the body into one of evenflow's; interrupts and our own errors pass.

    Example:
        >>> from evenflow.errors import ModelError
        >>> with told_as(ModelError, lambda error: f"the model raised {error}"):
        ...     raise KeyError("x")
        Traceback (most recent call last):
        ...
        evenflow.errors.ModelError: the model raised KeyError: 'x'
    """

    def __init__(self, kind: type[EvenflowError], message: Callable[[str], str]) -> None:
        self.kind = kind
        self.message = message

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise the translated error."""
        if isinstance(error, Exception) and not isinstance(error, EvenflowError):
            raise self.kind(self.message(first_lines(error))) from error


def first_lines(error: BaseException) -> str:
    """The class and the first lines of an error: enough to recognise it in one sentence."""
    text = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
    shown = text if len(text) <= 300 else text[:300] + "..."
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__
