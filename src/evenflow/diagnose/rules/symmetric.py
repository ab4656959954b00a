"""symmetric: all units of a layer are equal and get equal gradients, so that they stay equal for ever.

Null: random rows never coincide. Threshold: one distinct row in the weight *and* at most one in its gradient. A layer
with equal rows but different gradients (a head that starts at zero on purpose) parts in one step and is healthy; so is
a residual branch of zero weights behind which a zero head waits, as in Fixup (Zhang et al. 2019, section 3). False
positives: none by construction.
"""

from collections.abc import Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.naming import called
from evenflow.diagnose.rules.reading import names, plain_weight, strength, zero_head
from evenflow.diagnose.suitable import suitable_rule
from evenflow.probe import LayerRecord, NetworkRecord

RULE = "symmetric"


def find(network: NetworkRecord) -> Iterator[Finding]:
    """Name the first layer whose units cannot be told apart."""
    head = zero_head(network.layers)
    waiting = head is not None and head.input is not None and strength(head.input) > 0
    equal = [layer for layer in network.layers if _is_symmetric(layer) and not (waiting and _is_zero_branch(layer))]
    if not equal:
        return
    first = equal[0]
    weight = plain_weight(first)
    rows, rms = (weight.rows or 0, weight.rms) if weight else (0, 0.0)
    yield Finding(
        RULE,
        "error",
        first.name,
        {"rows": rows, "distinct_rows": 1, "weight_rms": rms},
        f"All {rows} units of {called(first.name)} have the same weights ({'zero' if rms == 0 else 'constant'}) and "
        "get the same gradient, so they go on computing the same feature: the layer is one unit wide.",
        f"Draw the weights at random, by the rule of the activation ({suitable_rule(first.activation).title}).",
        names(equal),
    )


def _is_symmetric(layer: LayerRecord) -> bool:
    weight = plain_weight(layer)
    if weight is None or layer.role == "embedding" or not weight.rows or weight.rows < 2 or weight.nonfinite:
        return False
    known = weight.grad_distinct_rows is not None and not weight.grad_nonfinite
    return weight.distinct_rows == 1 and known and (weight.grad_distinct_rows or 0) <= 1


def _is_zero_branch(layer: LayerRecord) -> bool:
    weight = plain_weight(layer)
    return layer.bypassed and weight is not None and weight.rms == 0
