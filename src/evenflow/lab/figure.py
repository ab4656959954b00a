"""What a claim's figure shows, as plain records: `evenflow.report` draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["lines", "dots", "bars", "heat"]


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one set of dots or bars.

    Attributes:
        label: Its name in the legend.
        x: Positions: numbers, or names for bars.
        y: Heights, as many.
        low: Lower ends of the intervals, as many, or none.
        high: Upper ends.
    """

    label: str
    x: tuple[float | str, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Cells:
    """A rectangle of values, for maps and slices.

    Attributes:
        x: Positions of the columns, ascending.
        y: Positions of the rows, ascending.
        values: One row of values for each `y`; NaN where nothing was measured.
        label: What the values are.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]
    label: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: What it shows.
        x: Title of the horizontal axis.
        y: Title of the vertical axis.
        series: What is drawn; empty for a heat map.
        kind: "lines", "dots", "bars" or "heat".
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is logarithmic.
        cells: The values of a heat map.
        expected: Heights that the prediction names, with their labels, drawn as rules.
        marked: Positions that the prediction names, likewise.
    """

    title: str
    x: str
    y: str
    series: tuple[Series, ...] = ()
    kind: Kind = "lines"
    log_x: bool = False
    log_y: bool = False
    cells: Cells | None = None
    expected: tuple[tuple[float, str], ...] = ()
    marked: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """The panels of a claim.

    Attributes:
        caption: What to see in them, in a sentence or two.
        panels: The panels, in the order in which they are shown.
    """

    caption: str
    panels: tuple[Panel, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figure as nested dicts and tuples."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Figure":
        """The figure that `to_dict` told, also after a way through JSON.

        Examples:
            >>> figure = Figure("", (Panel("", "x", "y", (Series("a", (1.0,), (2.0,)),)),))
            >>> Figure.from_dict(figure.to_dict()) == figure
            True
        """
        return cls(told["caption"], tuple(_panel(panel) for panel in told["panels"]))


def _panel(told: Mapping[str, Any]) -> Panel:
    cells = told["cells"]
    changed: dict[str, Any] = {
        "series": tuple(Series(**_frozen(one)) for one in told["series"]),
        "cells": None if cells is None else Cells(**_frozen(cells)),
        "expected": _tuple(told["expected"]),
        "marked": _tuple(told["marked"]),
    }
    return Panel(**{**told, **changed})


def _frozen(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _tuple(value) for name, value in told.items()}


def _tuple(value: Any) -> Any:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_tuple(part) for part in value)
    return value
