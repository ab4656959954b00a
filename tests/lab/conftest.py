import textwrap
from pathlib import Path

import pytest

from evenflow.lab.budget import Budget
from evenflow.lab.catalogue import find
from evenflow.lab.runner import run
from evenflow.lab.store import Store

CLAIM = '''
"""A claim of a user."""
import os

import torch

from evenflow.lab import Figure, Measurement, Panel, Prediction, grid, judge, mean_check

ID = "U1"
TITLE = "Even seeds"
STATEMENT = "Draws have a mean of zero."
SOURCE = "a test"
PREDICTION = Prediction("The mean is near 0.", mean=(-1, 1))


def design(budget):
    return grid(budget.seeds(6, 12, 24), size=[100, 200])


def measure(trial):
    drawn = torch.randn(trial["size"])
    return Measurement({"mean": float(drawn.mean())}, {"draws": drawn[:5].tolist()})


def verdict(results):
    return judge([mean_check(PREDICTION, "mean", results.values("mean"), "mean")], "Seen.")


def figure(results):
    return Figure("Means.", (Panel("Means", "size", "mean", (results.line("mean", "size", "mean"),)),))
'''


class Inline:
    """An engine that computes in this process, so that a test can look inside."""

    name, workers = "inline", 1

    def __init__(self):
        self.jobs = []

    def run(self, jobs, workers=None):
        from evenflow.lab.execute import execute

        for job in jobs:
            self.jobs.append(job)
            yield job, execute(job)


class Heard:
    """A listener that remembers."""

    def __init__(self):
        self.plans, self.outcomes, self.verdicts, self.again = {}, [], {}, {}

    def planned(self, claim, trials, missing):
        self.plans[claim.id] = (trials, missing)

    def measured(self, claim, outcomes):
        self.outcomes += outcomes

    def concluded(self, claim, verdict):
        self.verdicts[claim.id] = verdict

    def remeasured(self, claim, trials):
        self.again[claim.id] = trials


@pytest.fixture
def claim_file(tmp_path):
    """Writes a claim file, changed by replacements, and gives its path."""

    def write(*changes, name="own_claim.py", more=""):
        text = CLAIM
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = Path(tmp_path, name)
        path.write_text(text + textwrap.dedent(more))
        return str(path)

    return write


@pytest.fixture
def lab(tmp_path):
    """Runs claims on an engine into a store of the test, and gives what was heard; `lab.rows()` reads the store."""

    class Lab:
        path = tmp_path / "lab.db"

        def run(self, *names, engine=None, budget="quick", seed=0, **options):
            heard = Heard()
            with Store(self.path) as store:
                run(find(names), store, engine or Inline(), Budget(budget, seed), heard, **options)
            return heard

        def rows(self, path=None):
            with Store(path or self.path, create=False) as store:
                return store.rows()

        def verdicts(self):
            with Store(self.path, create=False) as store:
                return store.verdicts()

    return Lab()


@pytest.fixture
def inline():
    return Inline()
