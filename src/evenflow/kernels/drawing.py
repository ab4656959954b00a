"""What the loop of the draws is told, in one piece of memory that all threads see."""

import ctypes

DISTRIBUTIONS = "uniform", "normal", "central"
"""Those that have a kernel; the place of a name is its number. "central" is the truncated normal."""
UNIFORM, NORMAL, CENTRAL = range(3)
NUMBERS = (2, 2, 7)
"""How many numbers each takes."""
ASIDE = 2**9
"""How many draws are made in the cache, before they go where they belong."""


class Drawing(ctypes.Structure):
    """One call of the loop: rows that follow each other in memory, of whole blocks of four draws each.

    Attributes:
        out: Address of the first draw.
        blocks: Address of the blocks in the stream that the rows begin with.
        count: How many draws; the last row may be shorter than the others.
        width: How many draws a row has.
        rows: How many rows a thread takes at once.
        tasks: How many times one can.
        past: Whether the draws go past the cache.
        taken: How many tasks have been taken. Where it stands tells which is next.
        key: Of the stream.
        numbers: What the distribution takes.
    """

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("out", "blocks", "count", "width", "rows", "tasks", "past", "taken")),
        ("key", ctypes.c_uint64),
        ("numbers", ctypes.c_double * max(NUMBERS)),
    )

    @property
    def address(self) -> int:
        """Where this stands."""
        return ctypes.addressof(self)
