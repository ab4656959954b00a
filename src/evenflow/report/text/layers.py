"""The layer table and the two curves above it."""

from collections.abc import Callable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from evenflow.report.numbers import MISSING, number, share
from evenflow.report.rows import LayerRow, abridge
from evenflow.report.sparkline import sparkline
from evenflow.report.text.style import QUIET, TONE, shortened

MOST_ROWS = 16
NARROW = 100
LABELS = 46

Show = Callable[[LayerRow], str]


def curves(rows: Sequence[LayerRow], width: int) -> Table:
    """Draw signal and gradient by depth, a line each."""
    table = Table.grid(padding=(0, 2))
    for heading, values in (
        ("signal", [row.rms for row in rows]),
        ("gradient", [row.gradient for row in rows]),
    ):
        known = [value for value in values if value is not None]
        if known:
            line = sparkline(values, max(width - LABELS, 8))
            table.add_row(Text(f"{heading} by depth", QUIET), Text(line), f"{number(known[0])} … {number(known[-1])}")
    return table


def layer_table(rows: Sequence[LayerRow], width: int) -> Table:
    """Draw the rows, abridged when there are many; columns that would be empty are left out."""
    shown = _columns(rows, width)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False, header_style=QUIET)
    for heading in shown:
        left = heading in ("layer", "kind", "activation")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True)
    for item in abridge(rows, MOST_ROWS):
        if isinstance(item, int):
            cells = ["" for _ in shown]
            cells[2] = f"… {item:,} more"
            table.add_row(*cells, style=QUIET)
        else:
            table.add_row(*(Text(show(item)) for show in shown.values()), style=_style(item))
    return table


def _style(row: LayerRow) -> str:
    return TONE[row.severity].removeprefix("bold ") if row.severity and row.first else ""


def _columns(rows: Sequence[LayerRow], width: int) -> dict[str, Show]:
    narrow = width < NARROW
    columns: dict[str, Show] = {
        "": lambda row: "!" if row.severity else "",
        "#": lambda row: str(row.depth),
        "layer": lambda row: shortened(row.name, 18 if narrow else 34),
        "kind": lambda row: shortened(row.kind, 10 if narrow else 20),
        "activation": lambda row: row.activation or MISSING,
        "signal": lambda row: number(row.rms),
        "spread": lambda row: number(row.spread),
        "saturated": lambda row: share(row.saturated),
        "dead": lambda row: share(row.dead),
        "gradient": lambda row: number(row.gradient),
    }
    return {
        heading: show
        for heading, show in columns.items()
        if heading in ("", "#", "layer") or any(show(row) != MISSING for row in rows)
    }
