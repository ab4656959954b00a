"""The layer table: one row a layer, and its abridged form for long networks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.finding import Finding, Severity
from evenflow.probe.records import LayerRecord, Moments
from evenflow.report.stages import depths

RANK: dict[Severity | None, int] = {None: 0, "note": 1, "warning": 2, "error": 3}
ENDS = 4


@dataclass(frozen=True, slots=True)
class LayerRow:
    """What a table says about one layer.

    Attributes:
        depth: Position along the depth axis of the figures, from 1.
        name: Qualified name, with the call where it is not the first.
        kind: Class of the module.
        activation: Activation that follows; None where there is none.
        rms: Root mean square of what the layer hands on.
        spread: The part of it that depends on the input.
        saturated: Share of values on a plateau.
        dead: Share of dead units.
        gradient: Norm of the gradient with respect to the layer's output, per sample.
        severity: The worst severity of the findings at this layer.
        rules: The rules that found something at this layer.
        first: Whether a finding begins here.
    """

    depth: int
    name: str
    kind: str
    activation: str | None
    rms: float
    spread: float | None
    saturated: float | None
    dead: float | None
    gradient: float | None
    severity: Severity | None
    rules: tuple[str, ...]
    first: bool


def layer_rows(diagnosis: Diagnosis) -> tuple[LayerRow, ...]:
    """Write the row of every layer."""
    placed = zip(diagnosis.layers, depths(diagnosis), strict=True)
    return tuple(_row(layer, depth, diagnosis.findings) for layer, depth in placed)


def _row(layer: LayerRecord, depth: int, findings: Sequence[Finding]) -> LayerRow:
    here = [f for f in findings if layer.name == f.layer or layer.name in f.layers]
    activation = layer.activation
    return LayerRow(
        depth=depth,
        name=layer.name if layer.call == 0 else f"{layer.name} (call {layer.call + 1})",
        kind=layer.kind,
        activation=activation.name if activation else None,
        rms=tell(layer.signal, layer.signal.rms),
        spread=layer.signal.spread,
        saturated=activation.saturated if activation else None,
        dead=activation.dead if activation else None,
        gradient=tell(layer.gradient, layer.gradient.norm) if layer.gradient else None,
        severity=max((f.severity for f in here), key=RANK.__getitem__, default=None),
        rules=tuple(dict.fromkeys(f.rule for f in here)),
        first=any(f.layer == layer.name for f in here) and layer.call == 0,
    )


def tell(moments: Moments, value: float) -> float:
    """Return `value`, or NaN where the tensor holds values that are not finite and the moments hide them."""
    return math.nan if moments.nonfinite else value


def abridge(rows: Sequence[LayerRow], most: int) -> list[LayerRow | int]:
    """Shorten a table of more than `most` rows; a number stands for that many rows left out.

    The first and the last rows stay, and those where a finding begins, as far as `most` allows.
    """
    if len(rows) <= most:
        return list(rows)
    ends = {*range(ENDS), *range(len(rows) - ENDS, len(rows))}
    begins = [i for i, row in enumerate(rows) if row.first and i not in ends]
    kept = ends | set(begins[: most - len(ends)])
    shown: list[LayerRow | int] = []
    for position, row in enumerate(rows):
        if position in kept or {position - 1, position + 1} <= kept:
            shown.append(row)
        elif shown and isinstance(shown[-1], int):
            shown[-1] += 1
        else:
            shown.append(1)
    return shown
