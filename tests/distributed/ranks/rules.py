"""Every initialiser with arguments and a shape that no number of processes divides."""

import torch

from evenflow import init
from evenflow.random import Stream

# By name: the function, the shape, its arguments, and whether each process draws its own elements only.
RULES = {
    "uniform": ("uniform_", (7, 5), {"a": -1.0, "b": 2.0}, True),
    "normal": ("normal_", (7, 5), {"mean": 0.5, "std": 2.0}, True),
    "normal-one-row": ("normal_", (1, 6), {}, True),
    "normal-kernel": ("normal_", (6, 5, 3), {}, True),
    "normal-even": ("normal_", (8, 8), {}, True),
    "truncated": ("trunc_normal_", (7, 5), {"a": -0.5, "b": 1.0}, True),
    "truncated-far": ("trunc_normal_", (7, 5), {"a": 4.0, "b": 9.0}, True),
    "he": ("he_normal_", (7, 5), {}, True),
    "glorot": ("glorot_uniform_", (6, 5, 3), {}, True),
    "lecun": ("lecun_normal_", (7, 5), {}, True),
    "scaled": ("variance_scaling_", (7, 5), {"distribution": "truncated_normal", "mode": "fan_avg"}, True),
    "orthogonal": ("orthogonal_", (7, 5), {"gain": 2.0}, False),
    "orthogonal-blocks": ("orthogonal_", (8, 4), {"blocks": 4}, False),
    "delta-orthogonal": ("delta_orthogonal_", (7, 5, 3), {}, False),
    "sparse": ("sparse_", (7, 5), {"sparsity": 0.4}, True),
    "identity": ("eye_", (7, 5), {}, False),
    "dirac": ("dirac_", (6, 3, 3), {"groups": 2}, False),
    "zeros": ("zeros_", (7, 5), {}, False),
    "ones": ("ones_", (7, 5), {}, False),
    "constant": ("constant_", (7, 5), {"val": 0.25}, False),
}
# Those of which a half is still enough for a compiled kernel; by columns, rows of hundreds of draws and of a few.
LARGE = {
    "large-uniform": ("uniform_", (600, 2000), {}, True),
    "large-normal": ("normal_", (600, 2000), {}, True),
    "large-truncated": ("trunc_normal_", (601, 2003), {}, True),
    "large-slim": ("normal_", (50_001, 24), {}, True),
}
WITHOUT_DRAWS = {"identity", "dirac", "zeros", "ones", "constant"}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64, "complex64": torch.complex64}


def shape_of(rule):
    return (RULES | LARGE)[rule][1]


def write(rule, tensor):
    """Initialise a tensor by a rule, from the rule's own stream."""
    name, _, arguments, _ = (RULES | LARGE)[rule]
    source = {} if rule in WITHOUT_DRAWS else {"stream": Stream(0, rule)}
    return getattr(init, name)(tensor, **arguments, **source)


def in_one_process(rule, dtype=torch.float32):
    return write(rule, torch.full(shape_of(rule), torch.nan, dtype=dtype))
