"""Linear algebra whose bits do not depend on the number of threads: pieces of a fixed size, one thread for each."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def one_thread_each() -> Iterator[int]:
    """Let every torch function that is called inside use one thread; gives the number of threads from before.

    A library of matrix products splits a sum among its threads, so that its rounding depends on their number.

    Examples:
        >>> before = torch.get_num_threads()
        >>> with one_thread_each() as threads:
        ...     torch.get_num_threads(), threads == before
        (1, True)
        >>> torch.get_num_threads() == before
        True
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def at_once(piece: Callable[[int], object], numbers: Iterable[int], threads: int) -> None:
    """Call a function with each of the numbers, the first ones first, in as many threads as are allowed.

    Examples:
        >>> found = []
        >>> at_once(found.append, range(3), threads=1)
        >>> found
        [0, 1, 2]
    """
    pieces = list(numbers)
    workers = min(threads, len(pieces))
    if workers < 2:
        for number in pieces:
            piece(number)
        return
    # New threads each time: they start in a tenth of a millisecond, and none is left for a fork to lose.
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for done in [pool.submit(piece, number) for number in pieces]:
            done.result()
