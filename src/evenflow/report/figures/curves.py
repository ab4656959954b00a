"""Training curves: loss and test accuracy against steps."""

from collections.abc import Sequence

import altair as alt

from evenflow.report.figures.linear_axis import LinearAxis
from evenflow.report.figures.log_axis import LogAxis
from evenflow.report.figures.marks import lines, log_y
from evenflow.report.figures.series import Rows, measured, placed
from evenflow.report.figures.theme import HEIGHT, MUTED, WIDTH
from evenflow.report.model import TARGET_ACCURACY, Curve


def loss_chart(curves: Sequence[Curve]) -> alt.LayerChart | None:
    """Draw the training loss against steps: logarithmic, or linear where it is negative.

    Args:
        curves: The runs, the untreated one first.

    Returns:
        The chart; None where there is nothing to draw.
    """
    rows = _rows(curves, "loss")
    losses = measured(rows)
    if not losses:
        return None
    if loss_is_logarithmic(curves):
        axis = LogAxis.around(losses)
        return _against_steps(curves, placed(rows, axis), log_y(axis, "training loss"))
    linear = LinearAxis.around(losses)
    return _against_steps(curves, placed(rows, linear), _linear_y("training loss", linear))


def loss_is_logarithmic(curves: Sequence[Curve]) -> bool:
    """Whether no loss is negative, so that a logarithmic axis can show them."""
    return not any(loss < 0 for curve in curves for loss in curve.loss)


def accuracy_chart(curves: Sequence[Curve]) -> alt.LayerChart | None:
    """Draw the test accuracy against steps, with a rule at `TARGET_ACCURACY`.

    Args:
        curves: The runs, the untreated one first.

    Returns:
        The chart; None where there is nothing to draw.
    """
    rows = _rows(curves, "accuracy")
    if not rows:
        return None
    axis = LinearAxis(0.0, 1.0)
    chart = _against_steps(curves, placed(rows, axis), _linear_y("test accuracy", axis, "%"))
    return alt.LayerChart(layer=[_target(), chart]).properties(width=WIDTH, height=HEIGHT)


def _rows(curves: Sequence[Curve], measure: str) -> Rows:
    return [
        {"line": curve.label, "measure": measure, "x": step, "value": value}
        for curve in curves
        for step, value in zip(curve.steps, getattr(curve, measure), strict=True)
    ]


def _linear_y(title: str, axis: LinearAxis, style: str = "~g") -> alt.Y:
    scale = alt.Scale(domain=[axis.low, axis.high], nice=False)
    return alt.Y("y:Q", title=title, scale=scale, axis=alt.Axis(format=style, tickCount=5))


def _against_steps(curves: Sequence[Curve], rows: Rows, y: alt.Y) -> alt.LayerChart:
    x = alt.X("x:Q", title="optimizer steps", scale=alt.Scale(nice=False), axis=alt.Axis(grid=False, tickCount=6))
    return lines(rows, x, y, labels=[curve.label for curve in curves], measures=[rows[0]["measure"]])


def _target() -> alt.LayerChart:
    data = alt.InlineData(values=[{"y": TARGET_ACCURACY, "text": f"{TARGET_ACCURACY:.0%}"}])
    rule = alt.Chart(data).mark_rule(color=MUTED, strokeDash=[2, 3]).encode(y="y:Q")
    label = alt.Chart(data).mark_text(color=MUTED, align="left", baseline="bottom", dx=3, dy=-2, fontSize=11)
    return alt.LayerChart(layer=[rule, label.encode(x=alt.value(0), y="y:Q", text="text:N")])
