"""The other end of the pipe: a process that measures what it is sent until the pipe is closed."""

import signal
from multiprocessing.connection import Connection


def serve(pipe: Connection) -> None:
    """Measure the jobs that come through the pipe, and send their outcomes back.

    Ctrl-C goes to the whole group of processes; the driver decides, so the workers ignore it. When the driver is
    gone, the pipe is closed and the worker ends.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from evenflow.lab.execute import execute

    try:
        while (job := pipe.recv()) is not None:
            pipe.send(execute(job))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
