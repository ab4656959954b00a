"""How a run shows itself: a bar with the time left, and a line for every verdict."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from evenflow.cli.lab.list import COLOURS
from evenflow.lab.claim import Claim
from evenflow.lab.trial import Outcome
from evenflow.lab.verdict import Verdict


class Shown:
    """A listener that writes to standard error."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.failed = 0
        self.task = self.bar.add_task("trials", total=0)

    def __enter__(self) -> Self:
        """Show the bar."""
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the bar away."""
        self.bar.stop()
        if isinstance(error, KeyboardInterrupt):
            self.console.print("stopped: what was measured is kept, and the same command goes on from here")

    def planned(self, claim: Claim, trials: int, missing: int) -> None:
        """Count the trials of a claim, and tell what is there already."""
        if missing < trials:
            self.console.print(f"{claim.id}: {trials - missing} of {trials} trials are in the store")
        total = self.bar.tasks[self.task].total or 0
        self.bar.update(self.task, total=total + missing)

    def measured(self, claim: Claim, outcomes: Sequence[Outcome]) -> None:
        """Move the bar, and tell of failures."""
        self.bar.update(self.task, advance=len(outcomes), description=claim.id)
        for outcome in outcomes:
            if outcome.status == "failed":
                self.failed += 1
                last = outcome.error.strip().splitlines()[-1]
                self.console.print(
                    f"[red]failed[/] {claim.id} {outcome.trial.text}: {last}", markup=True, soft_wrap=True
                )

    def concluded(self, claim: Claim, verdict: Verdict) -> None:
        """Tell the verdict, before correction for the number of claims."""
        word = (verdict.word, COLOURS[verdict.word])
        self.console.print(Text.assemble((claim.id, "bold"), " ", word, f": {verdict.summary}"), soft_wrap=True)

    def remeasured(self, claim: Claim, trials: int) -> None:
        """Tell that results of other code are there."""
        self.console.print(f"[yellow]again[/] {claim.id}: {trials} trials in the store were measured by other code")
