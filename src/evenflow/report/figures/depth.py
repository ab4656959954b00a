"""Signal and gradient against depth, on a logarithmic axis."""

import altair as alt

from evenflow.report.figures.log_axis import LogAxis
from evenflow.report.figures.marks import lines, log_y
from evenflow.report.figures.series import (
    Measure,
    Networks,
    against_depth,
    depth_of,
    measured,
    placed,
    present,
)
from evenflow.report.figures.theme import depth_axis
from evenflow.report.rows import tell
from evenflow.report.stages import Stage


def signal_chart(networks: Networks) -> alt.LayerChart | None:
    """Draw the signal that each layer hands on: its root mean square, and its spread across samples.

    Args:
        networks: Stages of each network by its label, such as "before" and "after".

    Returns:
        The chart; None where nothing was measured.
    """
    return _log_chart(networks, {"rms": rms_of, "spread": spread_of}, "signal")


def gradient_chart(networks: Networks) -> alt.LayerChart | None:
    """Draw the norm of the gradient that arrives at each layer's output, per sample.

    Args:
        networks: Stages of each network by its label.

    Returns:
        The chart; None where no gradient arrived anywhere.
    """
    return _log_chart(networks, {"gradient norm": gradient_of}, "gradient norm")


def rms_of(stage: Stage) -> float | None:
    """Root mean square of what the stage hands on; NaN where it holds NaN or infinity."""
    return tell(stage.signal, stage.signal.rms)


def spread_of(stage: Stage) -> float | None:
    """The part of it that depends on the input; None for a single sample."""
    return None if stage.signal.spread is None else tell(stage.signal, stage.signal.spread)


def gradient_of(stage: Stage) -> float | None:
    """Norm of the gradient at the layer's output, per sample; None where none arrived."""
    return None if stage.gradient is None else tell(stage.gradient, stage.gradient.norm)


def _log_chart(networks: Networks, measures: dict[str, Measure], title: str) -> alt.LayerChart | None:
    rows = against_depth(networks, measures)
    if not measured(rows):
        return None
    axis = LogAxis.around(measured(rows))
    return lines(
        placed(rows, axis),
        depth_axis("x", depth_of(networks)),
        log_y(axis, title),
        labels=list(networks),
        measures=present(rows, measures),
    )
