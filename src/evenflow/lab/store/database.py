"""The store: what the driver writes, and what everybody may read."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from evenflow.lab.claim import Claim
from evenflow.lab.code import environment
from evenflow.lab.figure import Figure
from evenflow.lab.records import ClaimRow, Progress, TrialRow, VerdictRow
from evenflow.lab.store.opening import connect, told
from evenflow.lab.trial import Outcome, Trial, identity
from evenflow.lab.verdict import Verdict

TRIAL = "id, claim, config, measured_by, code, status, error, seconds, finished"


class Store:
    """A SQLite file in WAL mode: one process writes, others may read at the same time.

    Args:
        path: The file.
        create: Whether to make it when it is not there.

    Raises:
        StoreError: It cannot be opened; every method raises it likewise when SQLite fails.
    """

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.path = path
        self.connection = connect(path, create=create)

    def __enter__(self) -> Self:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the file; what was written is kept."""
        self.connection.close()

    # --- trials

    def write(self, claim: Claim, code: str, outcome: Outcome) -> None:
        """Keep one trial, in one transaction; one that is there already stays as it is."""
        key = trial_id(claim, code, outcome.trial)
        values = [
            key, claim.id, outcome.trial.text, claim.code, code, outcome.status, outcome.error, outcome.seconds, now(),
        ]  # fmt: skip
        with self._transaction():
            place = self._environment()
            sql = f"INSERT OR IGNORE INTO trials ({TRIAL}, environment) VALUES ({_holes(10)})"
            if self.connection.execute(sql, [*values, place]).rowcount:
                self._write_numbers(key, outcome)

    def _write_numbers(self, key: str, outcome: Outcome) -> None:
        metrics = [(key, name, None if math.isnan(v) else v) for name, v in outcome.metrics.items()]
        curves = [(key, name, np.asarray(v, dtype="<f8").tobytes()) for name, v in outcome.curves.items()]
        self.connection.executemany("INSERT INTO metrics VALUES (?, ?, ?)", metrics)
        self.connection.executemany("INSERT INTO curves VALUES (?, ?, ?)", curves)

    def forget_failures(self, claim: Claim, code: str, trials: Iterable[Trial]) -> int:
        """Remove failed trials, so that they are measured again; return how many there were."""
        keys = [(trial_id(claim, code, trial),) for trial in trials]
        with self._transaction():
            sql = "DELETE FROM trials WHERE id = ? AND status = 'failed'"
            return self.connection.executemany(sql, keys).rowcount

    def known(self, claim: Claim, code: str) -> set[Trial]:
        """The trials of a claim that were measured by this code."""
        sql = "SELECT config FROM trials WHERE claim = ? AND measured_by = ? AND code = ?"
        return {Trial(json.loads(config)) for (config,) in self._read(sql, claim.id, claim.code, code)}

    def others(self, claim: Claim, code: str) -> int:
        """How many trials of a claim were measured by other code, and by no other than that."""
        sql = "SELECT count(*) FROM trials WHERE claim = ? AND NOT (measured_by = ? AND code = ?)"
        ((count,),) = self._read(sql, claim.id, claim.code, code)
        return int(count)

    def outcomes(self, claim: Claim, code: str, trials: Sequence[Trial]) -> list[Outcome]:
        """What became of these trials, in their order; those that were not measured are left out."""
        keys = {trial_id(claim, code, trial): trial for trial in trials}
        rows = {row.id: row for row in self.rows(claim.id)}
        return [
            Outcome(
                trial, "done" if row.status == "done" else "failed", row.metrics, row.curves, row.error, row.seconds
            )
            for key, trial in keys.items()
            if (row := rows.get(key)) is not None
        ]

    def rows(self, claim: str | None = None) -> list[TrialRow]:
        """All trials, or those of one claim, by their hashes."""
        of = "" if claim is None else "WHERE claim = ?"
        chosen = () if claim is None else (claim,)
        trials = self._read(f"SELECT {TRIAL} FROM trials {of} ORDER BY id", *chosen)
        within = f"trial IN (SELECT id FROM trials {of})"
        metrics: dict[str, dict[str, float]] = {}
        for key, name, value in self._read(f"SELECT * FROM metrics WHERE {within}", *chosen):
            metrics.setdefault(key, {})[name] = math.nan if value is None else value
        curves: dict[str, dict[str, list[float]]] = {}
        for key, name, points in self._read(f"SELECT * FROM curves WHERE {within}", *chosen):
            curves.setdefault(key, {})[name] = np.frombuffer(points, dtype="<f8").tolist()
        return [TrialRow(*(*row, metrics.get(row[0], {}), curves.get(row[0], {}))) for row in trials]

    # --- predictions and verdicts

    def predicted(self, claim: Claim) -> set[str]:
        """The hashes of the predictions that were ever stored for a claim."""
        return {found for (found,) in self._read("SELECT hash FROM predictions WHERE claim = ?", claim.id)}

    def fix(self, claim: Claim) -> None:
        """Keep the statement and prediction of a claim, before its trials."""
        about = {
            "title": claim.title,
            "statement": claim.statement,
            "source": claim.source,
            "prediction": claim.prediction.text,
            "ranges": {name: str(r) for name, r in claim.prediction.ranges.items()},
        }
        with self._transaction():
            sql = "INSERT OR IGNORE INTO predictions VALUES (?, ?, ?, ?)"
            self.connection.execute(sql, (claim.id, claim.predicted, json.dumps(about), now()))

    def conclude(
        self,
        claim: Claim,
        code: str,
        *,
        budget: str,
        base_seed: int,
        verdict: Verdict,
        figure: Figure,
        outcomes: Sequence[Outcome],
        name: str,
    ) -> None:
        """Keep the verdict of a claim, in place of an earlier one of the same budget and base seed."""
        failed = sum(outcome.status == "failed" for outcome in outcomes)
        seconds = sum(outcome.seconds for outcome in outcomes)
        told_verdict, told_figure = json.dumps(verdict.to_dict()), json.dumps(figure.to_dict())
        values = [
            claim.id, budget, base_seed, claim.predicted, claim.code, code, told_verdict, told_figure, len(outcomes),
            failed, seconds, name, now(),
        ]  # fmt: skip
        with self._transaction():
            self.connection.execute(f"INSERT OR REPLACE INTO verdicts VALUES ({_holes(13)})", values)

    def verdicts(self, budget: str | None = None, base_seed: int | None = None) -> list[VerdictRow]:
        """The verdicts, the newest last; those of one budget or base seed alone where they are given."""
        sql = """
            SELECT v.claim, p.told, p.hash, p.fixed, v.budget, v.base_seed, v.verdict, v.figure, v.trials, v.failed,
                   v.seconds, v.source, v.made
            FROM verdicts v JOIN predictions p ON p.claim = v.claim AND p.hash = v.prediction
            WHERE v.budget = coalesce(?, v.budget) AND v.base_seed = coalesce(?, v.base_seed)
            ORDER BY v.made, v.rowid"""
        return [_verdict(*row) for row in self._read(sql, budget, base_seed)]

    # --- runs

    def begin(
        self, command: str, budget: str, base_seed: int, engine: str, workers: int, host: str, process: int
    ) -> int:
        """Keep that a run begins; return its number."""
        with self._transaction():
            sql = f"INSERT INTO runs VALUES (NULL, {_holes(9)}, NULL, NULL, ?)"
            start = now()
            cursor = self.connection.execute(
                sql, (command, budget, base_seed, engine, workers, process, host, start, start, self._environment())
            )
            assert cursor.lastrowid is not None  # SQLite gives one to every inserted row
            return cursor.lastrowid

    def plan(self, run: int, claim: str, trials: int, missing: int) -> None:
        """Keep what a run is going to measure of a claim."""
        with self._transaction():
            self.connection.execute("INSERT INTO planned VALUES (?, ?, ?, ?, 0)", (run, claim, trials, missing))

    def advance(self, run: int, claim: str, trials: int) -> None:
        """Keep that a run has measured trials of a claim."""
        with self._transaction():
            sql = "UPDATE planned SET done = done + ? WHERE run = ? AND claim = ?"
            self.connection.execute(sql, (trials, run, claim))
            self.connection.execute("UPDATE runs SET seen = ? WHERE id = ?", (now(), run))

    def end(self, run: int, how: str) -> None:
        """Keep that a run ended, and how."""
        with self._transaction():
            self.connection.execute("UPDATE runs SET ended = ?, how = ? WHERE id = ?", (now(), how, run))

    def runs(self) -> list[Progress]:
        """All runs and how far they are, the newest last."""
        sql = "SELECT id, command, engine, workers, process, host, started, seen, ended, how FROM runs ORDER BY id"
        planned: dict[int, dict[str, tuple[int, int, int]]] = {}
        for run, claim, trials, missing, done in self._read("SELECT * FROM planned"):
            planned.setdefault(run, {})[claim] = (trials, missing, done)
        return [Progress(*(*row[1:], planned.get(row[0], {}))) for row in self._read(sql)]

    def failures(self) -> dict[str, int]:
        """How many trials of each claim failed, of those that its newest code measured."""
        sql = """
            SELECT t.claim, count(*) FROM trials t
            WHERE t.status = 'failed' AND (t.measured_by, t.code) = (
                SELECT measured_by, code FROM trials WHERE claim = t.claim ORDER BY finished DESC LIMIT 1)
            GROUP BY t.claim"""
        return dict(self._read(sql))

    def environments(self) -> list[Mapping[str, str]]:
        """The machines and versions of its trials."""
        return [json.loads(one) for (one,) in self._read("SELECT told FROM environments ORDER BY rowid")]

    # --- SQL

    def _environment(self) -> str:
        about = json.dumps(environment())
        key = identity(about)
        self.connection.execute("INSERT OR IGNORE INTO environments VALUES (?, ?)", (key, about))
        return key

    def _read(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with told(self.path):
            return self.connection.execute(sql, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with told(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise


def trial_id(claim: Claim, code: str, trial: Trial) -> str:
    """The hash that a trial is kept under."""
    return identity(claim.id, trial.text, claim.code, code)


def now() -> str:
    """The time in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _holes(count: int) -> str:
    return ", ".join("?" * count)


def _verdict(
    claim: str,
    about: str,
    digest: str,
    fixed: str,
    budget: str,
    base_seed: int,
    verdict: str,
    figure: str,
    *rest: Any,
) -> VerdictRow:
    row = ClaimRow(id=claim, hash=digest, fixed=fixed, **json.loads(about))
    found = Verdict.from_dict(json.loads(verdict))
    return VerdictRow(row, budget, base_seed, found, Figure.from_dict(json.loads(figure)), *rest)
