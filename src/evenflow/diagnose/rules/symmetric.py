"""symmetric: all units of a layer are equal and get equal gradients, so that they stay equal for ever.

Null: random rows never coincide. Threshold: one distinct row in the weight *and* at most one in its gradient; a layer
with equal rows but different gradients (a head that starts at zero on purpose) parts in one step and is healthy. False
positives: none by construction.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.rules.reading import names
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "symmetric"


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer whose units cannot be told apart."""
    equal = [layer for layer in network.layers if _is_symmetric(layer)]
    if not equal:
        return
    first = equal[0]
    weight = first.weight
    rows = weight.rows if weight and weight.rows else 0
    zero = weight is not None and weight.rms == 0
    yield Finding(
        RULE,
        "error",
        first.name,
        {"rows": rows, "distinct_rows": 1, "weight_rms": weight.rms if weight else 0.0},
        f"All {rows} units of {first.name} have the same weights ({'zero' if zero else 'a constant'}) and get the same "
        "gradient, so they learn the same feature: the layer is one unit wide.",
        "Draw the weights at random, by the rule of the activation.",
        names(equal),
    )


def _is_symmetric(layer: LayerRecord) -> bool:
    weight = layer.weight
    if weight is None or layer.role == "embedding" or not weight.rows or weight.rows < 2 or weight.nonfinite:
        return False
    known = weight.grad_distinct_rows is not None and not weight.grad_nonfinite
    return weight.distinct_rows == 1 and known and (weight.grad_distinct_rows or 0) <= 1
