"""What an engine is."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from evenflow.lab.execute import Job
from evenflow.lab.trial import Outcome

# A worker may die of something that passes, such as another program's memory; a job that kills three is to blame
# itself.
ATTEMPTS = 3


class Engine(Protocol):
    """Runs jobs somewhere, in any order."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def workers(self) -> int:
        """How many jobs it runs at a time."""
        ...

    def run(self, jobs: Sequence[Job], workers: int | None = None) -> Iterator[tuple[Job, list[Outcome]]]:
        """Run the jobs; yield each with its outcomes as soon as they are there.

        Args:
            jobs: What to do.
            workers: At most so many at a time; None for all workers.
        """
        ...
