"""One torch thread for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run the body on one torch thread, and give the others back afterwards, also when it raises.

    On matrices as small as the demo's, threads wait for each other longer than they work: two of them on two busy cores
    were ten times slower than one. One thread also adds numbers up in the same order on every machine.

    Examples:
        >>> with one_torch_thread():
        ...     torch.get_num_threads()
        1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
