"""Normalisation layers: they let through what they made even."""

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer, ends_branch


def norm_rows(draft: Draft, index: int, layer: Layer) -> None:
    """Scale one, or one over the root of the number of sums at the end of a residual branch; shift zero."""
    scale = layer.share if layer.sums else 1.0
    for name in layer.parameters:
        if name.rpartition(".")[2] in ("bias", "beta"):
            draft.constant(layer, name, 0.0, "a normalisation starts without a shift", role="norm")
        elif layer.sums:
            reason = (
                "a residual branch that ends in zero starts its block as the identity (Goyal et al. 2017)"
                if draft.zero_branches
                else ends_branch(layer)
            )
            draft.constant(layer, name, 0.0 if draft.zero_branches else scale, reason, role="norm")
        else:
            value = _neutral(draft, layer, name)
            draft.constant(layer, name, value, "a normalisation starts without a scale of its own", role="norm")
    draft.emit(index, 0.0 if layer.sums and draft.zero_branches else scale)


def _neutral(draft: Draft, layer: Layer, name: str) -> float:
    """One; zero where a norm of the user's own was built with zeros, since it multiplies by one plus its weight."""
    of_torch = layer.module is not None and type(layer.module).__module__.startswith("torch.nn.")
    return 1.0 if of_torch or draft.constant_value(name) != 0.0 else 0.0
