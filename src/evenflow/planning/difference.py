"""What two plans do differently."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evenflow.planning.row import Row
from evenflow.planning.table import WIDE, as_text, described, new_table, size, std_of

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Change:
    """One tensor that two plans treat differently; None where a plan has no row for it."""

    name: str
    ours: Row | None
    theirs: Row | None

    @property
    def ratio(self) -> float | None:
        """The other standard deviation in units of ours; None where one of them is unknown or zero."""
        pair = [None if row is None else row.std for row in (self.ours, self.theirs)]
        return pair[1] / pair[0] if pair[0] and pair[1] else None


@dataclass(frozen=True, slots=True)
class PlanDifference:
    """The tensors that two plans treat differently, in the order of the first plan.

    Attributes:
        ours: The first plan's scheme.
        theirs: The other's.
        changes: The differences; empty when the plans write the same values.
        same: Number of tensors that both treat alike.
    """

    ours: str
    theirs: str
    changes: tuple[Change, ...]
    same: int

    def __bool__(self) -> bool:
        return bool(self.changes)

    def to_dict(self) -> dict[str, Any]:
        """The differences as dictionaries, strings and numbers."""
        return {
            "ours": self.ours,
            "theirs": self.theirs,
            "same": self.same,
            "changes": [
                {
                    "name": change.name,
                    "ours": _brief(change.ours),
                    "theirs": _brief(change.theirs),
                    "ratio": change.ratio,
                }
                for change in self.changes
            ],
        }

    def table(self, width: int = 160) -> str:
        """The differences as text."""
        return as_text(self, width)

    def __str__(self) -> str:
        """The same."""
        return self.table()

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """The differences, for a terminal."""
        from rich.text import Text

        yield Text(f"{len(self.changes)} tensors differ between {self.ours} and {self.theirs}, {self.same} do not")
        if self.changes:
            yield _table(self, narrow=options.max_width < WIDE)


def compare(ours: str, rows: Sequence[Row], theirs: str, others: Sequence[Row]) -> PlanDifference:
    """Compare the rows of two plans by what they write."""
    first, second = ({row.name: row for row in plan} for plan in (rows, others))
    names = dict.fromkeys((*first, *second))
    changes = tuple(
        Change(name, first.get(name), second.get(name))
        for name in names
        if _written(first.get(name)) != _written(second.get(name))
    )
    return PlanDifference(ours, theirs, changes, len(names) - len(changes))


def _written(row: Row | None) -> object:
    return None if row is None else (row.rule, dict(row.options), row.shape)


def _brief(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    options = {key: list(v) if isinstance(v, tuple) else v for key, v in row.options.items()}
    return {"rule": row.rule, "options": options, "std": row.std}


def _table(difference: PlanDifference, *, narrow: bool) -> "Table":
    from rich.text import Text

    headings = ("tensor", "shape", difference.ours, "std", difference.theirs, "std", "ratio")
    table = new_table(headings, right={3, 5, 6}, wrapped={0, 1, 2, 4} if narrow else ())
    for change in difference.changes:
        either = change.ours or change.theirs
        shape = size(either.shape) if either else ""
        ratio = "" if change.ratio is None else f"{change.ratio:.3g}"
        cells = (
            change.name, shape, described(change.ours), std_of(change.ours), described(change.theirs),
            std_of(change.theirs), ratio,
        )  # fmt: skip
        table.add_row(*map(Text, cells))
    return table
