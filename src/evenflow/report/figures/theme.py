"""Colours and settings that all figures share; colours are told apart with every kind of colour vision."""

from typing import Any

import altair as alt

BEFORE, AFTER = "#c4500a", "#0b62a4"
ALONE = AFTER
SERIES = [BEFORE, AFTER, "#5b6475", "#9a6fb0", "#2f7f6f", "#b08d00", "#d36ba6", "#1d2330"]
INK, MUTED, RULE, GRID = "#1d2330", "#5b6475", "#aab1bd", "#e6e9ee"
WIDTH, HEIGHT = 400, 215

CONFIG: dict[str, Any] = {
    "font": "system-ui, 'Segoe UI', Helvetica, Arial, sans-serif",
    "background": "transparent",
    "aria": False,
    "padding": 2,
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": GRID,
        "domainColor": RULE,
        "tickColor": RULE,
        "tickSize": 4,
    },
    "axisY": {"minExtent": 38},
    "legend": {
        "orient": "top",
        "direction": "horizontal",
        "title": None,
        "labelColor": INK,
        "labelFontSize": 12,
        "symbolSize": 260,
        "symbolOpacity": 1,
        "symbolStrokeWidth": 2,
        "offset": 6,
        "columnPadding": 14,
        "layout": {"top": {"anchor": "start", "direction": "horizontal", "margin": 20}},
    },
}


def depth_axis(field: str, depth: int) -> alt.X:
    """The axis that all figures against depth share, from layer 1 to `depth`."""
    return alt.X(
        f"{field}:Q",
        title="layer, in order of execution",
        scale=alt.Scale(domain=[0.5, depth + 0.5], nice=False),
        axis=alt.Axis(grid=False, format="d", tickMinStep=1, tickCount=min(depth, 8), labelFlush=False),
    )
