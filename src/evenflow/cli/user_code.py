"""Run code of the user's, and tell what it raised as an error of the source that it came from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from evenflow.errors import SourceError
from evenflow.probe.guard import told_as


@contextmanager
def running(what: str, hint: str = "") -> Iterator[None]:
    """Turn what the body raises into a `SourceError`, also an attempt to end the program.

    Args:
        what: What runs, to begin the message with, such as "importing model.py".
        hint: What to do about it, to end the message with.

    Raises:
        SourceError: The body raised.

    Examples:
        >>> with running("importing model.py"):
        ...     raise SystemExit(0)
        Traceback (most recent call last):
        ...
        evenflow.errors.SourceError: importing model.py ended the program by SystemExit(0); put what is to run as a ...
    """
    end = f"; {hint}" if hint else ""
    try:
        with told_as(SourceError, lambda error: f"{what} raised {error}{end}"):
            yield
    except SystemExit as error:
        raise SourceError(
            f"{what} ended the program by SystemExit({error.code!r}); put what is to run as a script under "
            "`if __name__ == '__main__':`"
        ) from error


def called(factory: Callable[[], object], source: str, what: str) -> object:
    """Call a factory without arguments.

    Args:
        factory: The user's function or class.
        source: Where it came from, for messages.
        what: What it should return, for messages, such as "the model".

    Raises:
        SourceError: It raised.
    """
    with running(source, f"it is called without arguments, and must return {what}"):
        return factory()


def kind(found: object) -> str:
    """What a value is, for messages.

    Examples:
        >>> kind(3), kind(None)
        ('an int', 'None')
    """
    if found is None:
        return "None"
    name = type(found).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"
