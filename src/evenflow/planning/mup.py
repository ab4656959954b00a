r"""Maximal update parametrisation: widths at which the learning rate of a narrow model stays the best.

For Adam, and with $m$ the factor by which a weight's fan-in is larger than in the narrow model:

| weight | standard deviation | learning rate |
|---|---|---|
| of which both fans grow (hidden) | as ever, $1/\sqrt{\text{fan\_in}}$ | $1/m$ |
| of which the fan-in grows alone (output) | a further $1/\sqrt m$ | $1/m$ |
| all others (input, bias, norm) | as ever | 1 |
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from evenflow.errors import PlanError
from evenflow.planning.row import PARAMETER, Row

TIED = (
    "{name} is an embedding and the output at once: muP asks for outputs that are divided by their fan-in's growth of "
    "{growth:g}, which is the model's to do"
)
ATTENTION = "muP scales the logits of attention by 1/d and not 1/sqrt(d), which is the model's to do"


def with_mup(rows: Mapping[str, Row], base: Mapping[str, Row], notes: list[str]) -> dict[str, Row]:
    """Rows with the learning rates, and the outputs' sizes, of muP.

    Args:
        rows: Those of the wide model.
        base: Those of the narrow one, which has the same names.
        notes: Where to say what the model has to do itself.

    Raises:
        PlanError: The two have different parameters.
    """
    names = {name for name, row in rows.items() if row.kind == PARAMETER}
    others = {name for name, row in base.items() if row.kind == PARAMETER}
    if names != others:
        raise PlanError(
            f"mup_base must have the parameters of the model; {min(names ^ others)} is in one of them alone"
        )
    found = {name: _scaled(row, base[name], notes) if name in base else row for name, row in rows.items()}
    if any(row.role == "attention" for row in found.values()):
        notes.append(ATTENTION)
    return found


def _scaled(row: Row, base: Row, notes: list[str]) -> Row:
    if row.fans is None or base.fans is None or base.fans.fan_in <= 0 or base.fans.fan_out <= 0:
        return row
    growth, outwards = row.fans.fan_in / base.fans.fan_in, row.fans.fan_out / base.fans.fan_out
    if row.role == "embedding" and row.aliases and outwards != 1:
        notes.append(TIED.format(name=row.name, growth=outwards))
    if growth == 1:
        return row
    reason = f"{row.reason}; muP: {growth:g} times the base's fan-in"
    if outwards != 1:
        return replace(row, lr_scale=1 / growth, reason=reason)
    shrink = 1 / math.sqrt(growth)
    return replace(
        row.scaled(shrink), lr_scale=1 / growth, reason=reason, aim=None if row.aim is None else row.aim * shrink
    )
