"""Processes of this machine."""

import multiprocessing
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from evenflow import checks
from evenflow.lab.engines.engine import ATTEMPTS
from evenflow.lab.engines.worker import serve
from evenflow.lab.execute import Job, cores, died
from evenflow.lab.trial import Outcome

PRELOADED = ["torch", "evenflow.lab.execute", "evenflow.lab.claims"]
GRACE = 2.0


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    job: Job | None = None
    attempts: dict[Job, int] = field(default_factory=dict)


class LocalEngine:
    """A process for every core, one thread each; a worker that dies is replaced and its job tried again.

    Args:
        workers: How many processes; None for as many as there are cores for this one.

    Raises:
        ParameterTypeError: `workers` is no integer.
        ParameterValueError: It is below 1.
    """

    name = "local"

    def __init__(self, workers: int | None = None) -> None:
        self.workers = cores() if workers is None else checks.integer("workers", workers, low=1)
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(PRELOADED)

    def __enter__(self) -> Self:
        """The engine itself; its workers live as long as a call of `run`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to end."""

    def run(self, jobs: Sequence[Job], workers: int | None = None) -> Iterator[tuple[Job, list[Outcome]]]:
        """Run the jobs; yield each with its outcomes as soon as they are there."""
        waiting = deque(jobs)
        attempts = dict.fromkeys(jobs, 0)
        team = [self._start() for _ in range(min(self.workers, workers or self.workers, len(jobs)))]
        try:
            for worker in team:
                self._hand(worker, waiting, attempts)
            while any(worker.job for worker in team):
                for worker in self._ready(team):
                    job = worker.job
                    assert job is not None  # `_ready` gives busy workers
                    outcomes = self._take(worker)
                    if outcomes is None:
                        how = f"the worker died with exit code {worker.process.exitcode}"
                        self._replace(worker)
                        if attempts[job] < ATTEMPTS:
                            waiting.appendleft(job)
                        else:
                            outcomes = died(job, f"{how}, as it did in {ATTEMPTS} attempts")
                    self._hand(worker, waiting, attempts)
                    if outcomes is not None:
                        yield job, outcomes
        finally:
            _stop(team)

    def _start(self) -> _Worker:
        mine, theirs = self._context.Pipe()
        context: Any = self._context  # typeshed gives `Process` to its subclasses only
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, mine)

    def _hand(self, worker: _Worker, waiting: deque[Job], attempts: dict[Job, int]) -> None:
        worker.job = waiting.popleft() if waiting else None
        if worker.job is not None:
            attempts[worker.job] += 1
            # A worker that died meanwhile is found by `_take`.
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.pipe.send(worker.job)

    def _ready(self, team: list[_Worker]) -> list[_Worker]:
        busy = {worker.pipe: worker for worker in team if worker.job is not None}
        return [busy[pipe] for pipe in wait(list(busy)) if isinstance(pipe, Connection)]

    def _take(self, worker: _Worker) -> list[Outcome] | None:
        """What a worker sends; None when it died."""
        try:
            found: list[Outcome] = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            return None
        return found

    def _replace(self, worker: _Worker) -> None:
        worker.pipe.close()
        fresh = self._start()
        worker.process, worker.pipe = fresh.process, fresh.pipe


def _stop(team: list[_Worker]) -> None:
    """Let idle workers end, and end those that are in the middle of something."""
    for worker in team:
        if worker.job is None:
            with suppress(BrokenPipeError, ConnectionResetError):
                worker.pipe.send(None)
        else:
            worker.process.terminate()
    for worker in team:
        worker.process.join(GRACE)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.pipe.close()
