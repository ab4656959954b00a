"""Hand-written records: a chain of layers in which every number is what a healthy ReLU network would show."""

import math
from dataclasses import replace

from evenflow.probe.records import (
    Activation,
    InputRecord,
    LayerRecord,
    LossRecord,
    Moments,
    NetworkRecord,
    ParameterRecord,
)
from evenflow.theory import Fans

UNITS, SAMPLES = 64, 128
HE = math.sqrt(2)


def moments(rms=1.0, *, spread="rms", std=None, shape=(SAMPLES, UNITS), nonfinite=0, low=None):
    std = rms if std is None else std
    return Moments(
        shape=shape,
        mean=math.sqrt(max(0.0, rms**2 - std**2)),
        std=std,
        rms=rms,
        low=-3 * rms if low is None else low,
        high=3 * rms,
        spread=rms if spread == "rms" else spread,
        norm=rms * math.sqrt(math.prod(shape[1:])),
        nonfinite=nonfinite,
    )


def gradient(norm=1.0, *, nonfinite=0, shape=(SAMPLES, UNITS)):
    return replace(moments(norm / math.sqrt(math.prod(shape[1:])), shape=shape), norm=norm, nonfinite=nonfinite)


def weight(name, gain=HE, *, shape=(UNITS, UNITS), fan_in=UNITS, **options):
    rms = gain / math.sqrt(fan_in)
    defaults = {
        "trainable": True,
        "nonfinite": 0,
        "rows": shape[0],
        "distinct_rows": shape[0],
        "grad_norm": 0.5,
        "grad_nonfinite": 0,
        "grad_distinct_rows": shape[0],
    }
    return ParameterRecord(
        name=name, shape=shape, rms=rms, norm=rms * math.sqrt(math.prod(shape)), **{**defaults, **options}
    )


def bias(name, *, units=UNITS, trainable=True):
    return ParameterRecord(name, (units,), trainable, 0.0, 0.0, 0, grad_norm=0.1 if trainable else None)


def layer(index=0, *, activation="relu", param=None, gain=HE, signal=None, dead=None, saturated=None, **options):
    """A linear layer; `signal` is what it hands on, `options` are fields of the record."""
    name = options.pop("name", f"layers.{index}")
    handed_on = signal or moments()
    pre = options.pop("output", None) or handed_on
    shape = options.pop("weight_shape", (UNITS, UNITS))
    units = options.pop("units", UNITS)
    owned = (weight(f"{name}.weight", gain, shape=shape), bias(f"{name}.bias"))
    applied = activation and Activation(activation, param, pre, handed_on, saturated, dead, units)
    fields = {
        "index": index,
        "name": name,
        "kind": "Linear",
        "role": "weight",
        "call": 0,
        "fans": Fans(UNITS, UNITS),
        "sources": (index - 1,) if index else (),
        "bypassed": False,
        "normalised": False,
        "input": moments(),
        "output": pre,
        "gradient": gradient(),
        "activation": applied or None,
        "parameters": owned,
    }
    return LayerRecord(**{**fields, **options})


def head(index, *, gain=1.0, **options):
    """A last layer without an activation."""
    return layer(index, activation=None, gain=gain, name=options.pop("name", "head"), **options)


def chain(depth=10, **options):
    """`depth` layers and a head. An option that is a list gives the value of each layer."""
    layers = []
    for index in range(depth):
        own = {key: value[index] if isinstance(value, list) else value for key, value in options.items()}
        layers.append(layer(index, **own))
    return [*layers, head(depth)]


def network(layers, **options):
    fields = {
        "model": "Net",
        "samples": SAMPLES,
        "inputs": (InputRecord("0", moments()),),
        "layers": tuple(layers),
        "output": moments(shape=(SAMPLES, 10)),
        "loss": LossRecord("cross-entropy", math.log(10), math.log(10), 10),
    }
    return NetworkRecord(**{**fields, **options})


def changed(layers, index, **fields):
    """The same layers with other fields in one of them."""
    return [replace(known, **fields) if known.index == index else known for known in layers]


def with_weight(layers, index, **fields):
    """The same layers with other fields in the weight of one of them."""
    known = layers[index]
    return changed(layers, index, parameters=(replace(known.parameters[0], **fields), *known.parameters[1:]))
