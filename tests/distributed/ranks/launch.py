"""Run `worker.py` in several processes that talk to each other, once for a whole test session."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import torch

_PACKAGE = Path(__file__).parent
_SECONDS = 240


class RankFailedError(Exception):
    """A process failed; the message is what it wrote."""


def launched(folder, world):
    """Return what each of `world` processes found, by rank; of several callers, one starts them.

    Args:
        folder: A folder that all test processes share.
        world: Number of processes.

    Raises:
        RankFailedError: One of them failed, or all together took too long.
    """
    home = folder / f"ranks-{world}"
    home.mkdir(exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            _run(home, world)
            (home / "done").touch()
    return [torch.load(home / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _run(home, world):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(_PACKAGE.parent)}
    ranks = []
    for rank in range(world):
        with (home / f"{rank}.log").open("w") as log:
            command = [sys.executable, "-W", "error", "-m", "ranks.worker", str(rank), str(world), str(home)]
            ranks.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    try:
        _wait(ranks, home)
    finally:
        for process in ranks:
            process.kill()
            process.wait()


def _wait(ranks, home):
    # A rank that waits for one that failed ends itself by the timeout of the process group.
    try:
        codes = [process.wait(_SECONDS) for process in ranks]
    except subprocess.TimeoutExpired:
        codes = [process.poll() for process in ranks]
    if any(codes) or None in codes:
        logs = [(home / f"{rank}.log").read_text() for rank in range(len(ranks))]
        ends = [
            f"rank {rank} ended with {code}:\n{log}" for rank, (code, log) in enumerate(zip(codes, logs, strict=True))
        ]
        raise RankFailedError("\n\n".join(ends))
