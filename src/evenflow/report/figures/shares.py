"""Saturated values and dead units by layer."""

import altair as alt

from evenflow.report.figures.linear_axis import LinearAxis
from evenflow.report.figures.marks import lines
from evenflow.report.figures.series import Measure, Networks, against_depth, depth_of, placed, present
from evenflow.report.figures.theme import depth_axis
from evenflow.report.stages import Stage

SATURATED, DEAD = "saturated values", "dead units"


def share_chart(networks: Networks) -> alt.LayerChart | None:
    """Draw the share of saturated values and of dead units in each layer.

    Args:
        networks: Stages of each network by its label.

    Returns:
        The chart; None where no layer can saturate or die.
    """
    found = share_measures(networks)
    if not found:
        return None
    rows = against_depth(networks, {name: MEASURES[name] for name in found})
    return lines(
        placed(rows, LinearAxis(0.0, 1.0)),
        depth_axis("x", depth_of(networks)),
        alt.Y("y:Q", title="share", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%", tickCount=5)),
        labels=list(networks),
        measures=found,
    )


def share_measures(networks: Networks) -> list[str]:
    """Which of the two shares any layer has."""
    return present(against_depth(networks, MEASURES), MEASURES)


def _saturated(stage: Stage) -> float | None:
    return stage.activation.saturated if stage.activation else None


def _dead(stage: Stage) -> float | None:
    return stage.activation.dead if stage.activation else None


MEASURES: dict[str, Measure] = {SATURATED: _saturated, DEAD: _dead}
