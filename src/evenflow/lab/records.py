"""What is read from a store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evenflow.lab.figure import Figure
from evenflow.lab.verdict import Verdict


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial as it is kept; see the table of that name.

    Attributes:
        id: Its hash.
        claim: The claim's id.
        config: JSON.
        measured_by: Hash of the claim's measuring code.
        code: Hash of evenflow's code.
        status: "done" or "failed".
        error: Traceback of a failure.
        seconds: Time it took.
        finished: When, in UTC.
        metrics: Numbers by name.
        curves: Curves by name.
    """

    id: str
    claim: str
    config: str
    measured_by: str
    code: str
    status: str
    error: str
    seconds: float
    finished: str
    metrics: Mapping[str, float]
    curves: Mapping[str, Sequence[float]]

    @property
    def content(self) -> tuple[object, ...]:
        """All that does not depend on when and how fast it was measured, in a form that compares NaN as equal."""
        numbers = tuple((name, repr(value)) for name, value in sorted(self.metrics.items()))
        curves = tuple((name, repr(list(points))) for name, points in sorted(self.curves.items()))
        return (self.id, self.claim, self.config, self.measured_by, self.code, self.status, numbers, curves)


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """A claim as it was when it was judged.

    Attributes:
        id: Its id.
        title: Its title.
        statement: The claim.
        source: Where it comes from.
        prediction: What was predicted, in words.
        ranges: The predicted ranges, in words, by name.
        hash: Hash of statement and prediction.
        fixed: When the prediction was first stored, in UTC.
    """

    id: str
    title: str
    statement: str
    source: str
    prediction: str
    ranges: Mapping[str, str]
    hash: str
    fixed: str


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A verdict as it is kept.

    Attributes:
        claim: The claim.
        budget: Budget of the run.
        base_seed: Base seed of the run.
        verdict: The verdict, before correction for the number of claims.
        figure: The figure.
        trials: Number of trials behind it.
        failed: How many of them failed.
        seconds: Seconds of computing.
        name: How the claim is named on the command line.
        made: When, in UTC.
    """

    claim: ClaimRow
    budget: str
    base_seed: int
    verdict: Verdict
    figure: Figure
    trials: int
    failed: int
    seconds: float
    name: str
    made: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        command: What was run.
        engine: Its engine.
        workers: How many workers it has.
        process: Its process id.
        host: Its machine.
        started: When it began, in UTC.
        seen: When it last wrote.
        ended: When it ended; None while it runs, or when it was killed.
        how: How it ended.
        claims: For each claim: trials of the design, those that were missing, those measured since.
    """

    command: str
    engine: str
    workers: int
    process: int
    host: str
    started: str
    seen: str
    ended: str | None
    how: str | None
    claims: Mapping[str, tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Entry:
    """A verdict as a report tells it: corrected for the number of claims.

    Attributes:
        row: The verdict as it is kept, uncorrected.
        word: The word after Holm's correction.
        p: The adjusted p; None where nothing is random.
    """

    row: VerdictRow
    word: str
    p: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """All that a report of the lab tells.

    Attributes:
        entries: The claims, in the order of the catalogue.
        budget: Their budget.
        base_seed: Their base seed.
        command: The last command that measured them.
        machine: Versions and machine, in words.
        seconds: Seconds of computing behind them.
        began: When the first of their runs began, in UTC.
        ended: When the last ended.
    """

    entries: tuple[Entry, ...]
    budget: str
    base_seed: int
    command: str
    machine: Mapping[str, str]
    seconds: float
    began: str
    ended: str
