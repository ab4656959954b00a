"""Recurrent layers, whose weights pack one matrix for each gate.

The fans are those of one gate: a packed weight is a stack of matrices that lead to different places, and not
one matrix with four times the outputs. Fan-out is also that of one direction: below a bidirectional layer the
gradients of both add up.
"""

from typing import Any

from evenflow.theory.fan_pair import Fans


def recurrent_fans(layer: Any) -> dict[str, Fans]:
    """Give each layer and direction its own input size; projections shorten the state that is handed on."""
    hidden = float(layer.hidden_size)
    state = float(layer.proj_size or layer.hidden_size)
    directions = ("", "_reverse") if layer.bidirectional else ("",)
    found = {}
    for depth in range(layer.num_layers):
        inputs = state * len(directions) if depth else float(layer.input_size)
        for direction in directions:
            found[f"weight_ih_l{depth}{direction}"] = Fans(inputs, hidden)
            found[f"weight_hh_l{depth}{direction}"] = Fans(state, hidden)
            if layer.proj_size:
                found[f"weight_hr_l{depth}{direction}"] = Fans(hidden, state)
    return found


def cell_fans(cell: Any) -> dict[str, Fans]:
    """One layer, one direction, no projection."""
    hidden = float(cell.hidden_size)
    return {"weight_ih": Fans(float(cell.input_size), hidden), "weight_hh": Fans(hidden, hidden)}
