"""A Ray cluster. The driver alone writes: workers send outcomes back."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from evenflow import checks
from evenflow.errors import ClaimError, EngineError, MissingExtraError
from evenflow.lab.code import code_version
from evenflow.lab.engines.engine import ATTEMPTS
from evenflow.lab.execute import Job, died, execute
from evenflow.lab.trial import Outcome

# Enough waiting jobs that no worker idles while the driver writes, few enough that an interrupt ends soon.
AHEAD = 2


class RayEngine:
    """A Ray cluster, one core a job; every machine of it needs the same evenflow and libraries.

    Ray is started when the body of `with` begins, and left when it ends.

    Args:
        address: Of a running cluster, such as "auto" or "ray://host:10001"; None starts one on this machine.
        workers: Jobs at a time; None for the cores of the cluster.

    Raises:
        MissingExtraError: Ray is not installed.
        ParameterValueError: `workers` is below 1.
    """

    name = "ray"

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtraError(
                "the engine ray needs Ray, which is not installed: pip install 'evenflow[ray]'"
            ) from error
        self._ray, self.address = ray, address
        self._wanted = None if workers is None else checks.integer("workers", workers, low=1)
        self._started = False

    def __enter__(self) -> Self:
        """Join the cluster, or start one.

        Raises:
            EngineError: There is no cluster at the address.
        """
        if not self._ray.is_initialized():
            try:
                self._ray.init(self.address or "local", log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise EngineError(f"there is no Ray cluster at --address {self.address} ({error})") from error
            self._started = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._started:
            self._ray.shutdown()
            self._started = False

    @property
    def workers(self) -> int:
        """Jobs at a time."""
        if self._wanted is not None:
            return self._wanted
        find: Any = self._ray.cluster_resources
        resources: dict[str, float] = find()
        return max(1, int(resources.get("CPU", 1)))

    def run(self, jobs: Sequence[Job], workers: int | None = None) -> Iterator[tuple[Job, list[Outcome]]]:
        """Run the jobs; yield each with its outcomes as soon as they are there.

        Raises:
            ClaimError: A machine of the cluster has another version of evenflow or of a library.
        """
        # Ray itself retries a task whose worker died; what a trial raises is an outcome, and never retried.
        task = self._ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(_execute)
        waiting, running = deque(jobs), dict[Any, Job]()
        ahead = (workers or self.workers) * (AHEAD if workers is None else 1)
        try:
            while waiting or running:
                while waiting and len(running) < ahead:
                    job = waiting.popleft()
                    running[task.remote(job)] = job
                (ready,), _ = self._ray.wait(list(running), num_returns=1)
                job = running.pop(ready)
                yield job, self._outcomes(ready, job)
        finally:
            for left in running:
                self._ray.cancel(left, force=True)

    def _outcomes(self, ready: Any, job: Job) -> list[Outcome]:
        try:
            code, outcomes = self._ray.get(ready)
        except (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError) as error:
            return died(job, f"the worker died in {ATTEMPTS} attempts: {error}")
        if code != code_version():
            raise ClaimError(
                "a machine of the cluster has another version of evenflow, torch, NumPy or SciPy than this one; "
                "install "
                "the same on all"
            )
        found: list[Outcome] = outcomes
        return found


def _execute(job: Job) -> tuple[str, list[Outcome]]:
    """What a worker does: the outcomes, and by which code."""
    return code_version(), execute(job)
