"""Time things side by side: one call each in turn, so that a busy machine slows all of them alike.

The order is drawn anew for each round. What runs in one thread leaves the other processors asleep, and all leave the
cache to the next: in a fixed order, the same one would always pay for it.
"""

import random
import statistics
import time
from collections.abc import Callable, Mapping


def compare(candidates: Mapping[str, Callable[[], object]], rounds: int = 15) -> dict[str, float]:
    """Print the median seconds of each candidate and its ratio to the first, the peer.

    Args:
        candidates: What to call, by name; the first is the peer. Each is called once before the clock starts.
        rounds: How often each is timed.

    Returns:
        The medians, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for call in candidates.values():
        call()
    order, drawn = list(candidates.items()), random.Random(0)
    for _ in range(rounds):
        drawn.shuffle(order)
        for name, call in order:
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    peer = next(iter(medians.values()))
    width = max(map(len, medians))
    for name, median in medians.items():
        print(f"  {name:{width}}  {median * 1e3:9.3f} ms  {peer / median:6.2f}x")
    return medians
