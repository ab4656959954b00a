"""Twenty tanh layers whose author drew every weight from N(0, 1).

evenflow check examples/deep_tanh_wide_weights.py:build
evenflow check examples/deep_tanh_wide_weights.py:build_treated
"""

from collections import OrderedDict

from torch import nn

import evenflow as ef
from evenflow.data import digits_batch


def build() -> nn.Sequential:
    """A classifier of 64 pixels that does not learn."""
    parts = OrderedDict()
    for number in range(1, 20):
        parts[f"linear{number}"] = nn.Linear(64, 64)
        parts[f"tanh{number}"] = nn.Tanh()
    parts["head"] = nn.Linear(64, 10)
    model = nn.Sequential(parts)

    for layer in model:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def build_treated() -> nn.Sequential:
    """The same, cured by its own diagnosis."""
    model = build()
    diagnosis = ef.check(model, digits_batch())
    ef.treat_(model, diagnosis)
    return model
