"""torch's own threads, for loops that share out their work themselves.

torch computes with a team of OpenMP threads, which go on looking for work for a while after the last. Threads beside
them would wait for a processor; the team takes up a loop in two microseconds.
"""

import ctypes
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from evenflow.kernels.pool import share

_FORKED = 0x40  # PF_FORKNOEXEC of Linux


def _is_forked() -> bool:
    """Tell whether this process is the copy of another, as far as the system says."""
    try:
        flags = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[6]
    except OSError:
        return False
    return bool(int(flags) & _FORKED)


# A child that was forked has the memory of the team, and none of its threads. Where torch was there before this module,
# another process may have loaded it.
_home = None if "torch" in sys.modules and _is_forked() else os.getpid()


def run_together(loop: Any, address: int, threads: int) -> None:
    """Call `loop(address)` in several threads at once; all have returned when this does.

    Args:
        loop: A compiled callback, `jit.callback`. It takes pieces of the work from a counter until there are no more,
            so that it does not matter how many threads come.
        address: Where what it reads stands, with the counter.
        threads: At most so many.
    """
    if threads == 1:
        loop.ctypes(address)
        return
    region = torch_team()
    if region is None:
        share(lambda *_: loop.ctypes(address), threads, threads, slab=1)
    else:
        region(loop.address, address, threads, 0)


def torch_team() -> Any:
    """Return what calls a function in C in several threads of torch's, or None where these cannot be had.

    They are missing in a forked child, where what torch itself does in several threads waits for ever. A forked process
    in which torch was loaded first of all counts as such a child.
    """
    return _region() if os.getpid() == _home and "torch._C" in sys.modules else None


@cache
def _region() -> Any:
    """Return GNU OpenMP's call for a parallel region, from the library that torch has loaded; None if there is none.

    LLVM's and Intel's libraries offer it too, on Linux.
    """
    if sys.platform != "linux":
        return None
    folders = [Path(place) / "lib" for place in getattr(sys.modules["torch"], "__path__", ())]
    beside = [str(path) for folder in folders for path in sorted(folder.glob("lib[gi]*omp*.so*"))]
    for name in (*beside, "libgomp.so.1", "libiomp5.so", "libomp.so"):
        try:
            library = ctypes.CDLL(name, mode=os.RTLD_NOLOAD | os.RTLD_NOW)
        except OSError:  # it is not loaded
            continue
        region: Any = getattr(library, "GOMP_parallel", None)
        if region is not None:
            region.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            region.restype = None
            return region
    return None
