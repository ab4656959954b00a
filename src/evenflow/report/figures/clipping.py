"""Figures of a clipper's history: the norm beside its threshold, and how often it fired."""

import math
from typing import TYPE_CHECKING

import altair as alt

from evenflow.report.figures.gallery import Figure
from evenflow.report.figures.linear_axis import LinearAxis
from evenflow.report.figures.log_axis import LogAxis
from evenflow.report.figures.marks import lines, log_y
from evenflow.report.figures.series import Rows, measured, placed
from evenflow.report.figures.svg import inline_svg
from evenflow.report.numbers import number, share

if TYPE_CHECKING:
    from evenflow.clip import ClipReport

BEFORE, AFTER, MEASURED, THRESHOLD = "before", "after", "measured", "threshold"


def clip_figures(history: "tuple[ClipReport, ...]") -> list[Figure]:
    """Draw the norms, and what was compared with the threshold, against steps; nothing for no history."""
    if not history:
        return []
    norm, compared, rate = norm_chart(history), threshold_chart(history), rate_chart(history)
    found = [report.norm for report in history]
    bad = _crosses(found)
    finite = sorted(value for value in found if math.isfinite(value))
    median = f" Median {number(finite[len(finite) // 2])}, largest {number(finite[-1])}." if finite else ""
    captions = [
        ("Norm of the gradients", norm, f"Before and after clipping.{median}{bad}"),
        (
            "Measured beside the threshold",
            compared,
            f"What is compared, and with what.{_crosses([report.measure for report in history])}",
        ),
        ("Share of steps clipped", rate, f"Of the steps in the history up to each. At last {share(history[-1].rate)}."),
    ]
    return [Figure(title, inline_svg(chart, f"{title}. {text}"), text) for title, chart, text in captions]


def _crosses(drawn: list[float]) -> str:
    return "" if all(map(math.isfinite, drawn)) else " Crosses: NaN or infinity."


def norm_chart(history: "tuple[ClipReport, ...]") -> alt.LayerChart:
    """Draw the norm before and after clipping, on a logarithmic axis."""
    rows = _rows(history, BEFORE, "norm") + [row for row in _rows(history, AFTER, "clipped_norm") if _known(row)]
    return _logarithmic(rows, "norm", [BEFORE, AFTER])


def threshold_chart(history: "tuple[ClipReport, ...]") -> alt.LayerChart:
    """Draw what is compared with the threshold, and the threshold, on a logarithmic axis."""
    limits = [row for row in _rows(history, THRESHOLD, "threshold") if math.isfinite(row["value"])]
    return _logarithmic(_rows(history, MEASURED, "measure") + limits, "measured", [MEASURED, THRESHOLD])


def rate_chart(history: "tuple[ClipReport, ...]") -> alt.LayerChart:
    """Draw the share of the steps in which something was clipped."""
    axis = LinearAxis(0.0, 1.0)
    scale = alt.Scale(domain=[axis.low, axis.high], nice=False)
    y = alt.Y("y:Q", title="clipped", scale=scale, axis=alt.Axis(format="%", tickCount=5))
    return lines(placed(_rows(history, "rate", "rate"), axis), _steps(), y, labels=["rate"], measures=["rate"])


def _logarithmic(rows: Rows, title: str, labels: list[str]) -> alt.LayerChart:
    axis = LogAxis.around(measured(rows))
    return lines(placed(rows, axis), _steps(), log_y(axis, title), labels=labels, measures=[title])


def _rows(history: "tuple[ClipReport, ...]", label: str, field: str) -> Rows:
    measure = "norm" if field in {"norm", "clipped_norm"} else "measured" if field != "rate" else "rate"
    return [
        {"line": label, "measure": measure, "x": report.step, "value": getattr(report, field)} for report in history
    ]


def _known(row: dict[str, object]) -> bool:
    return not math.isnan(float(str(row["value"])))


def _steps() -> alt.X:
    return alt.X("x:Q", title="steps", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=6))
