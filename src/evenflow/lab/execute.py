"""Measure the trials of one job: the same numbers in every process, engine and order."""

import os
import random
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
import torch

from evenflow.errors import ClaimError
from evenflow.lab.catalogue import Source
from evenflow.lab.claim import Claim
from evenflow.lab.trial import Measurement, Outcome, Trial


@dataclass(frozen=True, slots=True)
class Job:
    """Trials of one claim that are measured in one go.

    Attributes:
        source: Where the claim is.
        trials: The trials.
        code: The hash of the claim's measuring code that the driver read.
    """

    source: Source
    trials: tuple[Trial, ...]
    code: str


def execute(job: Job) -> list[Outcome]:
    """Measure the trials of a job; what they raise becomes their outcome.

    All of it runs on one torch thread and from random states that the first trial's seed sets, so that the numbers
    depend on neither the machine's cores nor what ran before.
    """
    claim, start = job.source.load(), time.perf_counter()
    if claim.code != job.code:
        return died(job, f"the file of {claim.id} changed while it was measured; run again")
    with _alone(job.trials[0].seed), _Told() as told:
        measured = _measure(claim, job.trials)
    seconds = (time.perf_counter() - start) / len(job.trials)
    if told.text:
        return [Outcome(trial, "failed", error=told.text, seconds=seconds) for trial in job.trials]
    return [
        Outcome(trial, "done", one.metrics, one.curves, seconds=seconds)
        for trial, one in zip(job.trials, measured, strict=True)
    ]


def died(job: Job, how: str) -> list[Outcome]:
    """The outcomes of a job that could not be measured."""
    return [Outcome(trial, "failed", error=how) for trial in job.trials]


def _measure(claim: Claim, trials: Sequence[Trial]) -> list[Measurement]:
    if claim.measure is not None:
        found: Sequence[object] = [claim.measure(trials[0])]
    else:
        assert claim.measure_together is not None  # a claim has one of the two
        found = list(claim.measure_together(trials))
    if len(found) != len(trials):
        raise ClaimError(f"measure_together of {claim.id} got {len(trials)} trials and gave {len(found)} measurements")
    return [_plain(claim, one) for one in found]


def _plain(claim: Claim, found: object) -> Measurement:
    if not isinstance(found, Measurement):
        raise ClaimError(f"measuring {claim.id} must give a Measurement; got a {type(found).__name__}")
    metrics = {name: float(value) for name, value in found.metrics.items()}
    return Measurement(metrics, {name: [float(v) for v in values] for name, values in found.curves.items()})


class _Told:
    """Keep the traceback of an exception of the body, and let the body end; interrupts pass."""

    text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, (Exception, SystemExit)):
            return False
        # From the second frame on: the first is this module's own.
        shown = trace.tb_next if trace is not None and trace.tb_next is not None else trace
        self.text = "".join(traceback.format_exception(type(error), error, shown))
        return True


@contextmanager
def _alone(seed: int) -> Iterator[None]:
    """One torch thread and seeded random states for the body; afterwards all is as it was."""
    threads, states = torch.get_num_threads(), (torch.get_rng_state(), np.random.get_state(), random.getstate())  # noqa: NPY002
    try:
        torch.set_num_threads(1)
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - what a user's trial may draw from
        random.seed(seed)
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
