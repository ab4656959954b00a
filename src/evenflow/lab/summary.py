"""From the store to what a report tells."""

import re

from evenflow.errors import NoResultsError
from evenflow.lab.records import Entry, Summary, VerdictRow
from evenflow.lab.statistics.holm import corrected
from evenflow.lab.store.database import Store


def summary(store: Store, budget: str | None = None, base_seed: int | None = None) -> Summary:
    """The verdicts of one budget and base seed, corrected for their number.

    Args:
        store: Where they are.
        budget: Which; None for that of the newest verdict.
        base_seed: Likewise.

    Raises:
        NoResultsError: There is no verdict yet.
        StoreError: The store cannot be read.
    """
    found = store.verdicts(budget, base_seed)
    if not found:
        raise NoResultsError(
            f"there is no verdict in {store.path} yet; evenflow lab run --store {store.path} makes some"
        )
    newest = found[-1]
    rows = [row for row in found if (row.budget, row.base_seed) == (newest.budget, newest.base_seed)]
    rows.sort(key=_place)
    runs = [run for run in store.runs() if set(run.claims) & {row.claim.id for row in rows}]
    return Summary(
        entries=entries(rows),
        budget=newest.budget,
        base_seed=newest.base_seed,
        command=runs[-1].command,
        machine=store.environments()[-1],
        seconds=sum(row.seconds for row in rows),
        began=runs[0].started,
        ended=max(run.seen for run in runs),
    )


def entries(rows: list[VerdictRow]) -> tuple[Entry, ...]:
    """The verdicts with their corrected words."""
    pairs = corrected([row.verdict for row in rows])
    return tuple(Entry(row, verdict.word, p) for row, (verdict, p) in zip(rows, pairs, strict=True))


def _place(row: VerdictRow) -> tuple[str, int]:
    """T2 comes before T10, and all of T before P."""
    letters, number = re.match(r"(\D*)(\d*)", row.claim.id).groups()  # type: ignore[union-attr]  # it matches anything
    return ("" if letters == "T" else row.claim.id), int(number or 0)
