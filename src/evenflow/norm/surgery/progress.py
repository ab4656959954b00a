"""A bar that shows how far a pass over the data is."""

from collections.abc import Iterable, Iterator, Sized
from itertools import islice
from typing import Any


def watched(batches: Iterable[Any], title: str, limit: int | None, *, shown: bool) -> Iterator[Any]:
    """Yield the batches, at most `limit` of them, and show a bar on standard error if it is wanted.

    Examples:
        >>> list(watched("abc", "letters", 2, shown=False))
        ['a', 'b']
    """
    some = islice(iter(batches), limit)
    if not shown:
        yield from some
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(some, total=_total(batches, limit), description=title)


def _total(batches: Iterable[Any], limit: int | None) -> int | None:
    known = len(batches) if isinstance(batches, Sized) else None
    return limit if known is None else known if limit is None else min(known, limit)
