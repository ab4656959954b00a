"""The driver: what is missing is measured, written and judged."""

import os
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from evenflow.errors import ChangedClaimError, NoResultsError
from evenflow.lab.budget import Budget
from evenflow.lab.catalogue import Source
from evenflow.lab.claim import Claim
from evenflow.lab.code import code_version
from evenflow.lab.engines.engine import Engine
from evenflow.lab.execute import Job
from evenflow.lab.figure import Figure
from evenflow.lab.results import Results
from evenflow.lab.store.database import Store
from evenflow.lab.trial import Outcome, Trial
from evenflow.lab.verdict import Verdict

Changed = Literal["rerun", "refuse"]


class Listener(Protocol):
    """Hears how a run goes."""

    def planned(self, claim: Claim, trials: int, missing: int) -> None:
        """A claim will be measured."""

    def measured(self, claim: Claim, outcomes: Sequence[Outcome]) -> None:
        """Trials were measured and written."""

    def concluded(self, claim: Claim, verdict: Verdict) -> None:
        """A claim has its verdict."""

    def remeasured(self, claim: Claim, trials: int) -> None:
        """Trials of a claim were measured by other code, and are measured again."""


@dataclass(frozen=True, slots=True)
class Work:
    """A claim in a run.

    Attributes:
        source: Where it is.
        claim: The claim.
        trials: The trials of its design.
        jobs: What has to be measured.
    """

    source: Source
    claim: Claim
    trials: tuple[Trial, ...]
    jobs: tuple[Job, ...]


def run(
    sources: Sequence[Source],
    store: Store,
    engine: Engine,
    budget: Budget,
    listener: Listener,
    *,
    changed: Changed | None = None,
    retry_failed: bool = False,
    command: str = "",
) -> dict[str, Verdict]:
    """Measure what is missing of the claims, keep it, and judge every claim as soon as its trials are there.

    Args:
        sources: The claims.
        store: Where results are, and are kept; the caller's process alone writes.
        engine: What measures.
        budget: Sizes and seeds.
        listener: Hears how it goes.
        changed: What to do when the code of a claim or of evenflow is not what measured the trials that are there, or
            when its
            prediction is another: "rerun" measures again, "refuse" raises. None measures again after a change of code
            and refuses a changed prediction.
        retry_failed: Whether trials that failed are measured again.
        command: What to write down as the command.

    Returns:
        The verdict of every claim, by its id, before correction for their number.

    Raises:
        ChangedClaimError: Something changed that `changed` refuses. Nothing was measured.
        StoreError: The store cannot be written (any more). What was written before is kept.
        ClaimError: A design or verdict is not what a claim's must be.
    """
    code = code_version()
    works = [_work(source, store, budget, code, changed, retry_failed) for source in sources]
    for work in works:
        if changed != "refuse" and (others := store.others(work.claim, code)) and work.jobs:
            listener.remeasured(work.claim, others)
        store.fix(work.claim)
    number = store.begin(
        command, budget.name, budget.base_seed, engine.name, engine.workers, platform.node(), os.getpid()
    )
    how = "failed"
    try:
        for work in works:
            missing = sum(len(job.trials) for job in work.jobs)
            store.plan(number, work.claim.id, len(work.trials), missing)
            listener.planned(work.claim, len(work.trials), missing)
        verdicts = dict(_measured(works, store, engine, budget, listener, code, number))
        how = "finished"
    except (KeyboardInterrupt, GeneratorExit):
        how = "interrupted"
        raise
    finally:
        store.end(number, how)
    return {work.claim.id: verdicts[work.claim.id] for work in works}


def _work(source: Source, store: Store, budget: Budget, code: str, changed: Changed | None, retry_failed: bool) -> Work:
    claim = source.load()
    trials = tuple(dict.fromkeys(claim.design(budget)))
    _refuse_changes(claim, store, code, changed)
    if retry_failed:
        store.forget_failures(claim, code, trials)
    known = store.known(claim, code)
    # A group is measured whole, also when only some of it is missing, so that its numbers are the same.
    jobs = [Job(source, group, claim.code) for group in claim.jobs(trials) if not known.issuperset(group)]
    return Work(source, claim, trials, tuple(jobs))


def _refuse_changes(claim: Claim, store: Store, code: str, changed: Changed | None) -> None:
    if changed == "rerun":
        return
    others, earlier = store.others(claim, code), store.predicted(claim)
    if earlier and claim.predicted not in earlier and store.rows(claim.id):
        raise ChangedClaimError(
            f"the prediction of {claim.id} is not the one that was fixed before its trials in {store.path}; take it "
            "back, "
            "use a new --store, or measure again by --changed rerun"
        )
    if changed == "refuse" and others and not store.known(claim, code):
        raise ChangedClaimError(
            f"the {others} trials of {claim.id} in {store.path} were measured by other code; --changed rerun measures "
            "them again"
        )


def _measured(
    works: Sequence[Work], store: Store, engine: Engine, budget: Budget, listener: Listener, code: str, number: int
) -> Iterator[tuple[str, Verdict]]:
    by_source = {work.source: work for work in works}
    left = Counter({work.source: len(work.jobs) for work in works})
    for work in works:
        if not work.jobs:
            yield work.claim.id, conclude(work, store, budget, listener, code)
    shared = [job for work in works for job in work.jobs if not work.claim.exclusive]
    alone = [job for work in works for job in work.jobs if work.claim.exclusive]
    for jobs, workers in ((shared, None), (alone, 1)):
        for job, outcomes in engine.run(jobs, workers):
            work = by_source[job.source]
            for outcome in outcomes:
                store.write(work.claim, code, outcome)
            store.advance(number, work.claim.id, len(outcomes))
            listener.measured(work.claim, outcomes)
            left[job.source] -= 1
            if not left[job.source]:
                yield work.claim.id, conclude(work, store, budget, listener, code)


def conclude(work: Work, store: Store, budget: Budget, listener: Listener, code: str) -> Verdict:
    """Judge a claim by what is in the store, and keep the verdict."""
    outcomes = store.outcomes(work.claim, code, work.trials)
    verdict, figure = judged(work.claim, outcomes)
    store.conclude(
        work.claim,
        code,
        budget=budget.name,
        base_seed=budget.base_seed,
        verdict=verdict,
        figure=figure,
        outcomes=outcomes,
        name=work.source.name if work.source.text else work.claim.id,
    )
    listener.concluded(work.claim, verdict)
    return verdict


def judged(claim: Claim, outcomes: Sequence[Outcome]) -> tuple[Verdict, Figure]:
    """The verdict and figure that follow from outcomes; *inconclusive* where too many trials failed for one."""
    results = Results(outcomes)
    try:
        return claim.judged(results), claim.figure(results)
    except NoResultsError as error:
        return Verdict("inconclusive", f"No verdict: {error}.", ()), Figure("Nothing to show.", ())
