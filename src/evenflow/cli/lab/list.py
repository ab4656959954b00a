"""`evenflow lab list`: the claims and what was last found."""

from pathlib import Path
from typing import Annotated

from evenflow.cli.lab.options import CLAIMS, DEFAULT_STORE, STORE

COLOURS = {"supported": "green", "refuted": "red", "depends": "yellow", "inconclusive": "blue"}


def list_command(
    claims: Annotated[list[str] | None, CLAIMS] = None,
    store: Annotated[Path, STORE] = DEFAULT_STORE,
) -> None:
    """List the claims, each with its last verdict in the store."""
    from rich.table import Table

    from evenflow.cli.output import Output
    from evenflow.lab.catalogue import find

    words = _last_words(store)
    table = Table(box=None, pad_edge=False)
    for name in ("claim", "verdict", "budget", "statement"):
        table.add_column(name, no_wrap=name != "statement")
    for source in find(claims or ()):
        claim = source.load()
        word, budget = words.get(claim.id, ("", ""))
        shown = f"[{COLOURS[word]}]{word}[/]" if word else "[dim]not measured[/]"
        table.add_row(claim.id, shown, budget, claim.statement)
    Output().print(table)


def _last_words(path: Path) -> dict[str, tuple[str, str]]:
    """The newest verdict of every claim, corrected among those of its budget and base seed."""
    from evenflow.lab.store import Store
    from evenflow.lab.summary import entries

    if not path.is_file():
        return {}
    with Store(path, create=False) as store:
        rows = store.verdicts()
    together = dict.fromkeys((row.budget, row.base_seed) for row in rows)
    told = [entry for key in together for entry in entries([r for r in rows if (r.budget, r.base_seed) == key])]
    told.sort(key=lambda entry: entry.row.made)
    return {entry.row.claim.id: (entry.word, entry.row.budget) for entry in told}
