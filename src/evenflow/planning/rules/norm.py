"""Normalisation layers: they let through what they made even."""

from evenflow.planning.draft import Draft
from evenflow.planning.layer import Layer

# With a scale of one the stream grows by as much at every sum, and what a later norm makes of a branch shrinks as the
# root of the number of sums before it: the scaling that other branches are given happens by itself.
BY_ITSELF = "ends a residual branch; the norms of later branches scale it down by themselves (De and Smith 2020)"


def norm_rows(draft: Draft, index: int, layer: Layer) -> None:
    """Scale one, shift zero; on demand scale zero at the end of a residual branch."""
    ends_at_zero = bool(layer.sums) and draft.zero_branches
    for name in layer.parameters:
        if name.rpartition(".")[2] in ("bias", "beta"):
            draft.constant(layer, name, 0.0, "a normalisation starts without a shift", role="norm")
        elif ends_at_zero:
            reason = "a residual branch that ends in zero starts its block as the identity (Goyal et al. 2017)"
            draft.constant(layer, name, 0.0, reason, role="norm")
        else:
            reason = BY_ITSELF if layer.sums else "a normalisation starts without a scale of its own"
            draft.constant(layer, name, _neutral(draft, layer, name), reason, role="norm")
    draft.emit(index, 0.0 if ends_at_zero else 1.0)


def _neutral(draft: Draft, layer: Layer, name: str) -> float:
    """One; zero where a norm of the user's own was built with zeros, since it multiplies by one plus its weight."""
    of_torch = layer.module is not None and type(layer.module).__module__.startswith("torch.nn.")
    return 1.0 if of_torch or draft.constant_value(name) != 0.0 else 0.0
