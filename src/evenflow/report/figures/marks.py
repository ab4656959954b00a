"""Marks that several figures are made of."""

import altair as alt

from evenflow.report.figures.log_axis import LogAxis
from evenflow.report.figures.series import Rows
from evenflow.report.figures.theme import ALONE, HEIGHT, SERIES, WIDTH

MOST_DOTS = 60
LEGEND_COLUMNS = 4
PATTERNS = [[1, 0], [5, 3], [2, 2]]


def log_y(axis: LogAxis, title: str) -> alt.Y:
    """The vertical axis of `axis`."""
    return alt.Y(
        "y:Q",
        title=title,
        scale=alt.Scale(type="log", domain=[axis.floor, axis.ceiling], nice=False),
        axis=alt.Axis(values=axis.ticks, labelExpr=axis.label_expression),
    )


def coloured(labels: list[str]) -> alt.Color:
    """Colour by `line`, in the order of `labels`; a single label needs no legend."""
    colours = [ALONE] if len(labels) == 1 else [SERIES[i % len(SERIES)] for i in range(len(labels))]
    columns = LEGEND_COLUMNS if len(labels) > LEGEND_COLUMNS + 1 else alt.Undefined
    legend = alt.Legend(symbolType="stroke", columns=columns) if len(labels) > 1 else None
    return alt.Color("line:N", scale=alt.Scale(domain=labels, range=colours), sort=labels, legend=legend)


def patterned(measures: list[str]) -> alt.StrokeDash:
    """Dash by `measure`, the first solid; a single measure needs no legend."""
    return alt.StrokeDash(
        "measure:N",
        scale=alt.Scale(domain=measures, range=PATTERNS[: len(measures)]),
        sort=measures,
        legend=alt.Legend(symbolType="stroke", symbolStrokeColor="#5b6475") if len(measures) > 1 else None,
    )


def lines(rows: Rows, x: alt.X, y: alt.Y, labels: list[str], measures: list[str]) -> alt.LayerChart:
    """Draw runs of measured values as lines with dots, zeros as open circles, NaN and infinity as crosses.

    Args:
        rows: What `series.placed` returns.
        x: The horizontal axis, of the field `x`.
        y: The vertical axis, of the field `y`.
        labels: The lines, in the order of their colours.
        measures: The measures, in the order of their patterns.
    """
    normal = alt.InlineData(values=[row for row in rows if row["state"] == "measured"])
    odd = alt.InlineData(values=[row for row in rows if row["state"] != "measured"])
    color = coloured(labels)
    shape = alt.Shape("state:N", scale=alt.Scale(domain=["zero", "not finite"], range=["circle", "cross"]), legend=None)
    layers = [
        alt.Chart(normal).mark_line(strokeWidth=2).encode(x, y, color, patterned(measures), detail="run:N"),
        alt.Chart(odd).mark_point(filled=False, size=34, strokeWidth=1.5, opacity=1).encode(x, y, color, shape),
    ]
    if len({row["x"] for row in rows}) <= MOST_DOTS:
        layers.append(alt.Chart(normal).mark_point(filled=True, size=16, opacity=1).encode(x, y, color))
    return alt.LayerChart(layer=layers).properties(width=WIDTH, height=HEIGHT)
