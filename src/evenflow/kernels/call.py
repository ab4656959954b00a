"""What the loops of batch normalisation are told, in one piece of memory that all threads see."""

import ctypes

BEFORE, SUM, AGAIN, AFTER, WRITE = 1, 2, 4, 8, 16
"""The phases: what is known of each channel, sums, sums again about the mean, what follows from them, elements."""
LINES = 5
"""Numbers of each channel that the phases leave for each other."""

_INTEGERS = (
    "x", "r", "y", "dy", "dx", "dr",  # addresses of arrays
    "weight", "bias", "d_weight", "d_bias", "moments", "running_mean", "running_var", "batches",
    "first", "lines", "sums",  # of memory to work in
    "batch", "channels", "values",  # sizes of the arrays
    "tasks", "task", "by_channel", "block", "pieces", "phases",  # how the work is cut
    "taken", "done",  # counters
)  # fmt: skip
_NUMBERS = ("eps", "count", "momentum", "correction")


class Call(ctypes.Structure):
    """One call of a loop. What is not set is 0.

    Parameters, their gradients and running statistics are in the type that is computed in: float64 for float64, else
    float32. Moments are float64.

    Args:
        memory: What `first`, `lines` and `sums` are the addresses in, kept as long as this.
        numbers: Fields by name.

    Attributes:
        r: Where the residual begins.
        kept: What the other addresses are in, until the loop is done.
        address: Where this stands itself.
        batches: Where the number of batches stands that moved the running statistics, int64; 0 if nowhere.
        taken: How many tasks have been taken. Where it stands tells which is next.
        done: How many are done.
        tasks: How many there are, each of `task` channels, or of so many entries of the first dimension.
        block: How many channels stay in the cache from one phase to the next.
        by_channel: Whether tasks are channels.
        pieces: How many sums there are of each channel.
        phases: Which phases are done, a sum of those above.
        count: Values in a channel; infinite where the moments are given.
        momentum: Weight of the new value in the running statistics.
        correction: What the biased variance is multiplied by in these.
    """

    _fields_ = [(name, ctypes.c_int64) for name in _INTEGERS] + [(name, ctypes.c_double) for name in _NUMBERS]

    kept: object

    def __init__(self, memory: object, **numbers: float) -> None:
        super().__init__(**numbers)
        self.memory, self.kept, self.address = memory, None, ctypes.addressof(self)


TAKEN, DONE = Call.taken.offset, Call.done.offset
"""Where the counters stand in a call."""
