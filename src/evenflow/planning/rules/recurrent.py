"""Recurrent layers: each gate by itself, orthogonal from state to state, and an LSTM that remembers at first."""

import math

from torch import nn

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer
from evenflow.theory import fans

# Gates in torch's order: of an LSTM input, forget, cell, output; of a GRU reset, update, new.
GATES = {"LSTM": 4, "GRU": 3}

# Sum of the two biases of the forget gate (Jozefowicz et al. 2015): sigmoid(1) of the cell state is kept at each step.
FORGET = 1.0


def recurrent_rows(draft: Draft, index: int, layer: Layer) -> None:
    """Write the rows of an RNN, LSTM or GRU, or of one of their cells."""
    module = layer.module
    assert module is not None  # `rule_for` chose by the module
    gates = _gates(module)
    for key, parameter in module.named_parameters(recurse=False):
        name = draft.name_of(parameter)
        if name is None:
            continue
        if key.startswith("weight_hh"):
            _state(draft, layer, name, gates)
        elif key.startswith("weight"):
            _input(draft, layer, name, key, gates, first=key in ("weight_ih_l0", "weight_ih_l0_reverse", "weight_ih"))
        else:
            _bias(draft, layer, name, key, gates)
    draft.emit(index, 1.0)


def _gates(module: nn.Module) -> int:
    return next((gates for kind, gates in GATES.items() if kind in type(module).__name__.upper()), 1)


def _state(draft: Draft, layer: Layer, name: str, gates: int) -> None:
    shape = draft.tensors[name].shape
    square = shape[0] // gates == shape[1]
    draft.add(
        layer,
        name,
        "orthogonal",
        {"gain": 1.0, "blocks": gates},
        "from state to state orthogonal"
        + (" for each gate" if gates > 1 else "")
        + ": no step shrinks or grows the state"
        if square
        else "from the projected state orthogonal for each gate",
        role="recurrent",
        fans=fans(layer.module, name.rpartition(".")[2]),
        gain=1.0,
    )


def _input(draft: Draft, layer: Layer, name: str, key: str, gates: int, *, first: bool) -> None:
    pair = fans(layer.module, key)
    moment = draft.second_moment_before(layer) if first else 1.0
    gain = 1 / math.sqrt(moment)
    draft.add(
        layer,
        name,
        "normal",
        {"mean": 0.0, "std": gain / math.sqrt(pair.fan_in)},
        "unit size into each gate" if key.startswith("weight_ih") else "projects the state at its size",
        role="gate" if gates > 1 else "hidden",
        fans=pair,
        gain=gain,
    )


def _bias(draft: Draft, layer: Layer, name: str, key: str, gates: int) -> None:
    if gates == GATES["LSTM"] and key.startswith("bias_ih"):
        draft.add(
            layer,
            name,
            "segments",
            {"values": (0.0, FORGET, 0.0, 0.0)},
            "the forget gate starts open: its two biases add up to 1 (Jozefowicz et al. 2015)",
            role="bias",
        )
    else:
        draft.constant(layer, name, 0.0, "a bias starts at zero")
