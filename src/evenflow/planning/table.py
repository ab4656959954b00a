"""Rows as a table, in which equal blocks of a network can be one line."""

import io
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from evenflow.planning.row import Row

if TYPE_CHECKING:  # Rich takes longer to import than a small network to initialise
    from rich.console import RenderableType
    from rich.table import Table

MOST_ROWS = 40
WIDE = 110

# Heading, and whether a narrow page shows the column too.
COLUMNS = (
    ("tensor", True), ("shape", False), ("rule", True), ("fan-in", False), ("gain", False), ("std", True),
    ("aim", False), ("rms", True), ("why", True),
)  # fmt: skip
NUMBERS = {"fan-in", "gain", "std", "aim", "rms"}
_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")


def as_text(renderable: "RenderableType", width: int) -> str:
    """What Rich would print on a page of this width, without colours."""
    from rich.console import Console

    page = io.StringIO()
    Console(file=page, width=width, color_system=None, highlight=False).print(renderable)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines())


def new_table(headings: Sequence[str], right: Collection[int], wrapped: Collection[int] = ()) -> "Table":
    """An empty table; the columns of numbers are aligned to the right, the last one and those named may wrap."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for place, heading in enumerate(headings):
        wraps = place in wrapped or place == len(headings) - 1
        table.add_column(heading, justify="right" if place in right else "left", no_wrap=not wraps, overflow="fold")
    return table


def row_table(rows: Sequence[Row], width: int, *, fold: bool | None = None) -> "Table":
    """Draw rows, folded where there are many or the page is narrow, or as is asked for."""
    from rich.text import Text

    narrow = width < WIDE
    folded = (narrow or len(rows) > MOST_ROWS) if fold is None else fold
    shown = [place for place, (_, everywhere) in enumerate(COLUMNS) if everywhere or not narrow]
    right = {number for number, place in enumerate(shown) if COLUMNS[place][0] in NUMBERS}
    table = new_table([COLUMNS[place][0] for place in shown], right, wrapped={0} if narrow else ())
    for group in _groups(rows) if folded else ([row] for row in rows):
        cells = _cells(group)
        table.add_row(*(Text(cells[place]) for place in shown))
    return table


def _groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows that differ in the numbers of their names and rules alone."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        key = (_NUMBER.sub("#", row.name), row.shape, row.rule, row.role, _outline(row.reason))
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _outline(reason: str) -> str:
    return re.sub(r"[-+.\de]*\d", "#", reason)


def _cells(group: Sequence[Row]) -> list[str]:
    first = group[0]

    def over(number: Callable[[Row], float | None]) -> str:
        return _span([number(row) for row in group])

    return [
        _joint_name([row.name for row in group]),
        size(first.shape),
        first.rule if len({described(row) for row in group}) > 1 else described(first),
        over(lambda row: row.fans.fan_in if row.fans else None),
        over(lambda row: row.gain),
        over(lambda row: row.std),
        over(lambda row: row.aim),
        over(lambda row: row.measured),
        first.reason,
    ]


def _joint_name(names: Sequence[str]) -> str:
    """One name for several that differ in numbers: those become a range in braces."""
    columns = list(zip(*(_NUMBER.findall(name) for name in names), strict=True))
    parts = []
    for numbers in columns:
        found = sorted({int(number) for number in numbers})
        parts.append(str(found[0]) if len(found) == 1 else f"{{{found[0]}..{found[-1]}}}")
    remaining = iter(parts)
    return _NUMBER.sub(lambda _: next(remaining), names[0])


def _span(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = f"{min(known):.3g}", f"{max(known):.3g}"
    return low if low == high else f"{low}..{high}"


def size(shape: Sequence[int]) -> str:
    """A shape as people write it."""
    return " x ".join(map(str, shape)) or "scalar"


def described(row: Row | None) -> str:
    """The rule with those of its numbers that the other columns do not show."""
    if row is None:
        return "no row"
    shown = []
    for key, value in row.options.items():
        if key in ("mean", "std", "dim", "weight") and (row.rule != "balance" or key != "mean"):
            continue
        if (key == "blocks" and value == 1) or (key == "gain" and row.gain is not None):
            continue
        shown.append(f"{value:.4g}" if key == "value" else f"{key}={_number(value)}")
    return f"{row.rule} {' '.join(shown)}".strip()


def _number(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_number, value)) + ")"
    return f"{value:.4g}" if isinstance(value, (int, float)) else str(value)


def std_of(row: Row | None) -> str:
    """The standard deviation, where the rule tells it."""
    return "" if row is None or row.std is None else f"{row.std:.3g}"
