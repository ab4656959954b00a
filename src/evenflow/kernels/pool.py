"""A pool of threads that share one loop.

Numba's own parallel layers are not used: GNU OpenMP ends a process that forks after a kernel ran, and workqueue one
that calls from two threads at once.
"""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import cache

# Long enough that waking a thread (some 20 microseconds) is small beside it; whole blocks of four draws.
SLAB = 2**18


def share(work: Callable[[int, int], object], count: int, threads: int, slab: int = SLAB) -> None:
    """Call `work(start, stop)` on slabs that together are `range(count)`, in several threads at once.

    The calling thread takes part. The others help as far as they are free, so calls from several threads at once, or
    from inside `work`, never wait for each other.

    Args:
        work: Safe to call from any thread on separate slabs; quick only if it releases the interpreter lock.
        count: Length of the loop.
        threads: At most so many threads; no more help, in all, than there are processors.
        slab: How much of the loop is worth a thread's while.

    Raises:
        Exception: What `work` raised; every thread has stopped by then.

    Examples:
        >>> squares = [0] * 5
        >>> share(lambda start, stop: squares.__setitem__(slice(start, stop), [4] * (stop - start)), 5, threads=2)
        >>> squares
        [4, 4, 4, 4, 4]
    """
    if threads == 1 or count <= slab:
        work(0, count)
        return
    slabs = deque(range(0, count, slab))

    def drain() -> None:
        while slabs:
            try:
                start = slabs.popleft()
            except IndexError:
                return
            work(start, min(start + slab, count))

    helpers: list[Future[None]] = []
    try:
        # No thread may be had at a limit of the system or while the interpreter shuts down: this one does it all then.
        with suppress(RuntimeError):
            helpers.extend(_executor(os.getpid()).submit(drain) for _ in range(min(threads, len(slabs)) - 1))
        drain()
    finally:
        slabs.clear()
        started = [helper for helper in helpers if not helper.cancel()]
        wait(started)
    for helper in started:
        helper.result()


@cache
def _executor(process: int) -> ThreadPoolExecutor:
    """Return the pool of this process: a forked child has none of its parent's threads and needs its own."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix=f"evenflow-{process}")
