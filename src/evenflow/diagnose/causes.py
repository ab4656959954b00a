"""Sort findings so that the root cause comes first and each consequence names its cause."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from evenflow.diagnose.finding import Finding

# For each symptom, what can bring it about, the likeliest first. A cause is named only when it was found too.
CAUSES: dict[str, tuple[str, ...]] = {
    "non-finite": ("gain-mismatch", "exploding-signal", "input-scale"),
    "saturated": ("symmetric", "gain-mismatch", "input-scale", "exploding-signal"),
    "dead": ("symmetric", "gain-mismatch", "input-scale"),
    "exploding-signal": ("symmetric", "gain-mismatch"),
    "vanishing-signal": ("symmetric", "dead", "gain-mismatch", "saturated"),
    "exploding-gradient": ("symmetric", "gain-mismatch", "exploding-signal"),
    "vanishing-gradient": ("symmetric", "dead", "gain-mismatch", "vanishing-signal", "saturated", "input-scale"),
    "loss-at-start": ("symmetric", "gain-mismatch", "exploding-signal", "input-scale"),
}

# A gain that is too small explains what shrinks, one that is too large what grows.
SHRINKS = {"vanishing-signal", "vanishing-gradient", "dead"}
GROWS = {"non-finite", "saturated", "exploding-signal", "exploding-gradient", "loss-at-start"}

# Symptoms of the way forward: what explains them lies at the same layer or before it.
FORWARD = {"non-finite", "saturated", "dead", "exploding-signal", "vanishing-signal"}

# Where a computation overflows, it has a cause; where data or parameters hold NaN, the network did not make it.
COMPUTED = {"forward", "backward"}

RANK = {"error": 0, "warning": 1, "note": 2}


def sort_by_cause(findings: Iterable[Finding], layers: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Name each finding's cause, and put roots before consequences, the severe ones first.

    A root counts as severe as the worst that it explains: inputs that are too large rank before the saturation they
    cause.

    Args:
        findings: In the order of the rules, which decides between equals.
        layers: Names of the layers in execution order. With them, no symptom of the way forward is explained by what
            happens after it.
    """
    listed = list(findings)
    place = {name: index for index, name in reversed(list(enumerate(layers)))}
    linked = [replace(finding, cause=_cause(finding, listed, place)) for finding in listed]
    order = {finding.rule: index for index, finding in reversed(list(enumerate(linked)))}
    chains = [_chain_of(finding, linked) for finding in linked]
    worst: dict[str, int] = {}
    for finding, chain in zip(linked, chains, strict=True):
        worst[chain[-1]] = min(RANK[finding.severity], worst.get(chain[-1], len(RANK)))
    keys = [
        (worst[chain[-1]], order[chain[-1]], len(chain), RANK[finding.severity], index)
        for index, (finding, chain) in enumerate(zip(linked, chains, strict=True))
    ]
    return tuple(finding for _, finding in sorted(zip(keys, linked, strict=True), key=lambda pair: pair[0]))


def _chain_of(finding: Finding, findings: Sequence[Finding]) -> tuple[str, ...]:
    """The rules from a finding up to its root cause, its own first."""
    above = next((other for other in findings if other.rule == finding.cause), None)
    return (finding.rule,) if above is None else (finding.rule, *_chain_of(above, findings))


def _cause(finding: Finding, findings: Sequence[Finding], place: dict[str, int]) -> str | None:
    for rule in CAUSES.get(finding.rule, ()):
        if any(other.rule == rule and _explains(other, finding, place) for other in findings):
            return rule
    return None


def _explains(cause: Finding, finding: Finding, place: dict[str, int]) -> bool:
    serious = cause.severity != "note" or finding.severity == "note"
    if not (serious or finding.layer in cause.layers):
        return False
    if finding.rule == "non-finite" and finding.evidence.get("where") not in COMPUTED:
        return False
    if finding.rule in FORWARD and place.get(cause.layer, -1) > place.get(finding.layer, len(place)):
        return False
    if cause.rule == "gain-mismatch":
        return finding.rule not in (GROWS if float(cause.evidence["compound"]) < 1 else SHRINKS)
    return True
