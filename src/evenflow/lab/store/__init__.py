"""Where the lab keeps what it measured: one SQLite file, a transaction a trial."""

from evenflow.lab.records import ClaimRow, Progress, TrialRow, VerdictRow
from evenflow.lab.store.database import Store

__all__ = ["ClaimRow", "Progress", "Store", "TrialRow", "VerdictRow"]
