"""A panel of a claim's figure as a chart."""

import math
from collections.abc import Iterator
from typing import Any

import altair as alt

from evenflow.lab.figure import Panel, Series
from evenflow.report.figures.linear_axis import LinearAxis
from evenflow.report.figures.log_axis import LogAxis
from evenflow.report.figures.marks import coloured, lines, log_y
from evenflow.report.figures.series import placed
from evenflow.report.figures.theme import HEIGHT, MUTED, WIDTH

Chart = alt.Chart | alt.LayerChart
Rows = list[dict[str, Any]]

# An axis' own format would cut digits to those that tell its ticks apart, and write 10 as 1e+1.
NUMBER = "format(datum.value, '~g')"

# More labels than this on an axis would lie on each other.
LABELS = 8


def panel_chart(panel: Panel) -> Chart | None:
    """Draw a panel.

    Args:
        panel: What it shows.

    Returns:
        The chart; None where there is nothing to draw.
    """
    if panel.kind == "heat":
        return None if panel.cells is None else _heat(panel)
    if not any(series.x for series in panel.series):
        return None
    if panel.kind == "bars":
        return _with_rules(panel, _bars(panel), _axis(panel))
    return _with_rules(panel, _lines(panel), _axis(panel))


def _lines(panel: Panel) -> alt.LayerChart:
    axis, labels = _axis(panel), [series.label for series in panel.series]
    rows: Rows = [
        {"line": series.label, "measure": panel.y, "x": x, "value": y}
        for series in panel.series
        for x, y in zip(series.x, series.y, strict=True)
    ]
    x, y = _x(panel), _y(panel, axis)
    drawn = lines(placed(rows, axis), x, y, labels=labels, measures=[panel.y])
    if panel.kind == "dots":
        drawn = alt.LayerChart(layer=drawn.layer[1:]).properties(width=WIDTH, height=HEIGHT)
    bands = [row for series in panel.series for row in _band(series, axis)]
    if not bands:
        return drawn
    band = (
        alt.Chart(alt.InlineData(values=bands))
        .mark_area(opacity=0.14)
        .encode(x=x, y=alt.Y("low:Q"), y2="high:Q", color=coloured(labels), detail="run:N")
    )
    return alt.LayerChart(layer=[band, *drawn.layer]).properties(width=WIDTH, height=HEIGHT)


def _band(series: Series, axis: LogAxis | LinearAxis) -> Iterator[dict[str, Any]]:
    run = 0
    for x, low, high in zip(series.x, series.low, series.high, strict=False):
        (bottom, state), (top, _) = axis.place(low), axis.place(high)
        if state != "measured":
            run += 1
            continue
        yield {"line": series.label, "x": x, "low": bottom, "high": top, "run": f"{series.label}{run}"}


def _bars(panel: Panel) -> alt.LayerChart:
    axis, labels = _axis(panel), [series.label for series in panel.series]
    names = list(dict.fromkeys(str(x) for series in panel.series for x in series.x))
    rows = [row for series in panel.series for row in _bar_rows(series, axis)]
    x = alt.X("x:N", title=panel.x, sort=names, axis=alt.Axis(labelAngle=0 if len(names) < 6 else -40, grid=False))
    offset = {"xOffset": alt.XOffset("line:N", sort=labels)} if len(labels) > 1 else {}
    # Layers that shared one data object would hand it to the chart around them, and lose it with that.
    marks, ranges = (alt.Chart(alt.InlineData(values=rows)) for _ in range(2))
    point = marks.mark_point(filled=True, size=60, opacity=1).encode(x, _y(panel, axis), coloured(labels), **offset)
    spread = ranges.mark_rule(strokeWidth=2).encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), coloured(labels), **offset)
    return alt.LayerChart(layer=[spread, point]).properties(width=WIDTH, height=HEIGHT)


def _bar_rows(series: Series, axis: LogAxis | LinearAxis) -> Iterator[dict[str, Any]]:
    lows, highs = series.low or series.y, series.high or series.y
    for x, y, low, high in zip(series.x, series.y, lows, highs, strict=True):
        (bottom, _), (middle, _), (top, _) = axis.place(low), axis.place(y), axis.place(high)
        yield {"line": series.label, "x": str(x), "y": middle, "low": bottom, "high": top}


def _heat(panel: Panel) -> Chart:
    cells = panel.cells
    assert cells is not None  # `panel_chart` has looked
    rows = [
        {"x": f"{x:.3g}", "y": f"{y:.3g}", "value": value if math.isfinite(value) else None}
        for y, values in zip(cells.y, cells.values, strict=True)
        for x, value in zip(cells.x, values, strict=True)
    ]
    few = [[f"{v:.3g}" for v in places][:: math.ceil(len(places) / LABELS)] for places in (cells.x, cells.y)]
    x = alt.X("x:O", title=panel.x, sort=[f"{v:.3g}" for v in cells.x], axis=alt.Axis(labelAngle=0, values=few[0]))
    y = alt.Y("y:O", title=panel.y, sort=[f"{v:.3g}" for v in reversed(cells.y)], axis=alt.Axis(values=few[1]))
    legend = alt.Legend(title=cells.label, orient="right", direction="vertical", gradientLength=140)
    color = alt.Color("value:Q", scale=alt.Scale(scheme="viridis"), legend=legend)
    chart: alt.Chart = alt.Chart(alt.InlineData(values=rows)).mark_rect().encode(x, y, color)
    drawn: alt.Chart = chart.properties(width=WIDTH - 60, height=HEIGHT)
    return drawn


def _with_rules(panel: Panel, drawn: alt.LayerChart, axis: LogAxis | LinearAxis) -> alt.LayerChart:
    layers = list(drawn.layer)
    if panel.expected:
        data = alt.InlineData(values=[{"at": axis.place(at)[0], "text": text} for at, text in panel.expected])
        rule = alt.Chart(data).mark_rule(color=MUTED, strokeDash=[2, 3]).encode(y="at:Q")
        text = alt.Chart(data).mark_text(color=MUTED, align="left", baseline="bottom", dx=3, dy=-2, fontSize=11)
        layers = [rule, text.encode(x=alt.value(0), y="at:Q", text="text:N"), *layers]
    if panel.marked:
        data = alt.InlineData(values=[{"at": at, "text": text} for at, text in panel.marked])
        rule = alt.Chart(data).mark_rule(color=MUTED, strokeDash=[2, 3]).encode(x="at:Q")
        text = alt.Chart(data).mark_text(color=MUTED, align="left", baseline="top", dx=3, dy=2, fontSize=11)
        layers = [rule, text.encode(x="at:Q", y=alt.value(0), text="text:N"), *layers]
    return alt.LayerChart(layer=layers).properties(width=WIDTH, height=HEIGHT)


def _axis(panel: Panel) -> LogAxis | LinearAxis:
    values = [v for series in panel.series for v in (*series.y, *series.low, *series.high)]
    values += [at for at, _ in panel.expected]
    return LogAxis.around(values) if panel.log_y else LinearAxis.around(values)


def _y(panel: Panel, axis: LogAxis | LinearAxis) -> alt.Y:
    if isinstance(axis, LogAxis):
        return log_y(axis, panel.y)
    scale = alt.Scale(domain=[axis.low, axis.high], nice=True, zero=False)
    return alt.Y("y:Q", title=panel.y, scale=scale, axis=alt.Axis(labelExpr=NUMBER, tickCount=5))


def _x(panel: Panel) -> alt.X:
    scale = alt.Scale(type="log" if panel.log_x else "linear", nice=False, zero=False, padding=8)
    places = sorted({float(x) for series in panel.series for x in series.x})
    # On a logarithmic axis Vega labels 1, 2, ... 9 of every decade; the few places that were measured say more.
    ticks = {"values": places} if panel.log_x and len(places) <= LABELS else {"tickCount": 6}
    axis = alt.Axis(grid=False, labelExpr=NUMBER, labelOverlap="greedy", labelSeparation=6, **ticks)
    return alt.X("x:Q", title=panel.x, scale=scale, axis=axis)
