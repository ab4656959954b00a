"""The distribution of what each layer hands on, as a strip against depth."""

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import altair as alt

from evenflow.report.figures.series import Rows
from evenflow.report.figures.theme import HEIGHT, WIDTH, depth_axis
from evenflow.report.sparkline import thin
from evenflow.report.stages import Stage

MOST_LAYERS = 40
MOST_BINS = 32
WIDE = 20
CONSTANT = 0.03


@dataclass(frozen=True, slots=True)
class Column:
    """The histogram of one stage, in fewer bins, from `left` to `right` on the depth axis."""

    layer: str
    left: float
    right: float
    low: float
    high: float
    counts: tuple[int, ...]


def histogram_chart(stages: tuple[Stage, ...], colour: str, *, own_units: bool = False) -> alt.Chart | None:
    """Draw the values of each layer: a column a layer, the darker the more values lie there.

    Each column is scaled to its own fullest bin, and a square root brings out the thin tails.

    Args:
        stages: The network.
        colour: The darkest colour.
        own_units: Whether each layer is drawn in units of its own root mean square.

    Returns:
        The chart; None where no histogram was recorded.
    """
    columns = _columns(stages, own_units)
    if not columns:
        return None
    low, high = _domain(columns)
    rows = [row for column in columns for row in _bins(column, CONSTANT * (high - low))]
    title = "value / rms of its layer" if own_units else "value"
    scale = alt.Scale(domain=[low, high], nice=False)
    darkness = alt.Scale(domain=[0, 1], range=["#f6f7f9", colour], interpolate="rgb")
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows))
        .mark_rect()
        .encode(
            x=depth_axis("left", len(stages)),
            x2="right:Q",
            y=alt.Y("low:Q", title=title, scale=scale, axis=alt.Axis(grid=False, tickCount=5)),
            y2="high:Q",
            color=alt.Color("weight:Q", scale=darkness, legend=None),
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return chart


def in_own_units(stages: tuple[Stage, ...]) -> bool:
    """Whether the layers differ so much in scale that they are better drawn each in its own units."""
    reach = [max(abs(h.low), abs(h.high)) for stage in stages if (h := stage.signal.histogram) is not None]
    return bool(reach) and max(reach) > WIDE * median(reach)


def _columns(stages: tuple[Stage, ...], own_units: bool) -> list[Column]:
    known = [stage for stage in stages if stage.signal.histogram is not None]
    shown = thin(known, MOST_LAYERS)
    middles = [(a.depth + b.depth) / 2 for a, b in pairwise(shown)]
    edges = [0.5, *middles, len(stages) + 0.5]
    columns = []
    for stage, left, right in zip(shown, edges, edges[1:], strict=False):
        histogram = stage.signal.histogram
        if histogram is not None and any(histogram.counts):
            unit = stage.signal.rms if own_units and stage.signal.rms > 0 else 1.0
            counts = _merged(histogram.counts)
            columns.append(Column(stage.layer, left, right, histogram.low / unit, histogram.high / unit, counts))
    return columns


def _merged(counts: tuple[int, ...]) -> tuple[int, ...]:
    size = math.ceil(len(counts) / MOST_BINS)
    return tuple(sum(counts[start : start + size]) for start in range(0, len(counts), size))


def _domain(columns: list[Column]) -> tuple[float, float]:
    low, high = min(column.low for column in columns), max(column.high for column in columns)
    return (low, high) if high > low else (low - 1, low + 1)


def _bins(column: Column, thickness: float) -> Rows:
    """One row for each bin that holds something; where all values are equal, one bin of `thickness`."""
    counts, low = column.counts, column.low
    step = (column.high - low) / len(counts)
    if step <= 0:
        counts, low, step = (sum(counts),), column.low - thickness / 2, thickness
    return [
        {
            "layer": column.layer,
            "left": column.left,
            "right": column.right,
            "low": low + i * step,
            "high": low + (i + 1) * step,
            "share": round(amount / sum(counts), 5),
            "weight": round(math.sqrt(amount / max(counts)), 3),
        }
        for i, amount in enumerate(counts)
        if amount
    ]
