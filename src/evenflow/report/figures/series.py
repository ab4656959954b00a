"""The data of figures that draw lines: plain dictionaries, one a mark."""

from collections.abc import Callable, Iterable
from typing import Any

from evenflow.report.figures.linear_axis import LinearAxis
from evenflow.report.figures.log_axis import LogAxis
from evenflow.report.stages import Stage

Networks = dict[str, tuple[Stage, ...]]
Measure = Callable[[Stage], float | None]
Rows = list[dict[str, Any]]


def depth_of(networks: Networks) -> int:
    """Number of stages of the deepest network."""
    return max((len(stages) for stages in networks.values()), default=0)


def against_depth(networks: Networks, measures: dict[str, Measure]) -> Rows:
    """Measure every stage: a row has `line`, `measure`, `x` (depth), `layer`, `value` (None for none)."""
    return [
        {"line": label, "measure": name, "x": stage.depth, "layer": stage.layer, "value": measure(stage)}
        for label, stages in networks.items()
        for name, measure in measures.items()
        for stage in stages
    ]


def measured(rows: Rows) -> list[float]:
    """The values that were measured, NaN and infinity among them."""
    return [row["value"] for row in rows if row["value"] is not None]


def present(rows: Rows, measures: Iterable[str]) -> list[str]:
    """The measures that have a value."""
    found = {row["measure"] for row in rows if row["value"] is not None}
    return [name for name in measures if name in found]


def placed(rows: Rows, axis: LogAxis | LinearAxis) -> Rows:
    """Place the measured rows on an axis: `y` and `state` replace `value`, and `run` numbers unbroken runs.

    A line through one run connects neighbours only: it bridges neither a zero nor what was not measured.
    """
    run, last = 0, None
    result: Rows = []
    for row in rows:
        y, state = (None, "missing") if row["value"] is None else axis.place(row["value"])
        here = (row["line"], row["measure"], state)
        run += here != last or state != "measured"
        last = here
        if y is not None:
            kept = {key: value for key, value in row.items() if key != "value"}
            result.append(kept | {"y": y, "state": state, "run": run})
    return result
