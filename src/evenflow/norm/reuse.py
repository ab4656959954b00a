"""Large memory for outputs, which is used again when nothing else uses it.

The system takes large memory back as soon as it is freed, and fills new memory with zeros, page by page: half the time
of a step that needs 51 MB twice. So the memory behind outputs comes back here.
"""

import mmap
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

LARGE = 2**23
"""Bytes from which memory is lent: what is smaller is seldom given back to the system."""
_HUGE_PAGE = 2**21
# Bytes that are kept as they are, which saves the time of telling the system that it may have them, and in all.
_WARM, _MOST = 2**27, 2**30

_HUGE: Any = getattr(mmap, "MADV_HUGEPAGE", None)
_FREE: Any = getattr(mmap, "MADV_FREE", None)

# Blocks that nothing uses, the latest last. When memory is short, the system may take those in `_idle`.
_warm: list[mmap.mmap] = []
_idle: list[mmap.mmap] = []


def _keep(block: mmap.mmap) -> None:
    """Take a block back. It may be called in any thread, and in the middle of any Python code, so it takes no lock."""
    _warm.append(block)
    # Another thread may have emptied a list since it was summed up.
    with suppress(IndexError, OSError):
        while sum(map(len, _warm)) > _WARM:
            cooled = _warm.pop(0)
            cooled.madvise(_FREE)
            _idle.append(cooled)
        while sum(map(len, _idle)) > _MOST - _WARM:
            _idle.pop(0)


class _Lent(np.ndarray[Any, np.dtype[np.uint8]]):
    """The bytes of a block. The storage of a tensor holds it, and with it all that uses this memory."""

    block: mmap.mmap | None = None

    def __del__(self, keep: Callable[[mmap.mmap], None] = _keep) -> None:
        if self.block is not None:
            keep(self.block)


def empty_like(like: Tensor) -> Tensor:
    """Return a tensor of the shape, strides and dtype of a dense one on the CPU, with any numbers in it.

    If it has `LARGE` bytes or more, it cannot be resized to more.
    """
    block = _take(-(-like.nbytes // _HUGE_PAGE) * _HUGE_PAGE) if like.nbytes >= LARGE else None
    if block is None:
        return torch.empty_like(like)
    lent = _Lent((like.nbytes,), np.uint8, block)
    lent.block = block
    return torch.frombuffer(lent, dtype=like.dtype).as_strided_(like.shape, like.stride())


def _take(size: int) -> mmap.mmap | None:
    """Return a block of a size: the one that was used last, or a new one; None where the system does not know such."""
    for blocks in (_warm, _idle):
        for block in reversed(blocks.copy()):
            # Another thread may take it first.
            with suppress(ValueError):
                if len(block) == size:
                    blocks.remove(block)
                    return block
    if _HUGE is None or _FREE is None:
        return None
    try:
        block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.madvise(_HUGE)
    except OSError:  # no memory, or no large pages
        return None
    return block
