"""Sort findings so that the root cause comes first and each consequence names its cause."""

from collections.abc import Iterable
from dataclasses import replace

from evenflow.diagnose.finding import Finding

# For each symptom, what can bring it about, the likeliest first. A cause is named only when it was found too.
CAUSES: dict[str, tuple[str, ...]] = {
    "gain-mismatch": ("non-finite",),
    "saturated": ("symmetric", "gain-mismatch", "input-scale", "exploding-signal"),
    "dead": ("symmetric", "gain-mismatch", "input-scale"),
    "exploding-signal": ("symmetric", "gain-mismatch", "input-scale"),
    "vanishing-signal": ("symmetric", "dead", "gain-mismatch"),
    "exploding-gradient": ("symmetric", "gain-mismatch", "exploding-signal"),
    "vanishing-gradient": ("symmetric", "dead", "gain-mismatch", "vanishing-signal", "saturated"),
    "loss-at-start": ("symmetric", "gain-mismatch", "exploding-signal", "input-scale"),
}

# A gain that is too small explains what shrinks, one that is too large what grows.
SHRINKS = {"vanishing-signal", "dead"}
GROWS = {"saturated", "exploding-signal", "exploding-gradient", "loss-at-start"}

RANK = {"error": 0, "warning": 1, "note": 2}


def sort_by_cause(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Name each finding's cause, and put roots before consequences, the severe ones first.

    A root counts as severe as the worst that it explains: inputs that are too large rank before the saturation they
    cause. Findings must come in the order of the rules, which decides between equals.
    """
    listed = list(findings)
    linked = [replace(finding, cause=_cause(finding, listed)) for finding in listed]
    order = {finding.rule: place for place, finding in reversed(list(enumerate(linked)))}

    def root(finding: Finding) -> str:
        above = next((other for other in linked if other.rule == finding.cause), None)
        return finding.rule if above is None else root(above)

    def severity(rule: str) -> int:
        return min(RANK[other.severity] for other in linked if root(other) == rule)

    return tuple(
        sorted(
            linked,
            key=lambda f: (
                severity(root(f)),
                order[root(f)],
                f.cause is not None,
                RANK[f.severity],
                order[f.rule],
            ),
        )
    )


def _cause(finding: Finding, all_findings: list[Finding]) -> str | None:
    for rule in CAUSES.get(finding.rule, ()):
        for other in all_findings:
            if (
                other.rule == rule
                and RANK[other.severity] <= max(1, RANK[finding.severity])
                and _explains(other, finding)
            ):
                return rule
    return None


def _explains(cause: Finding, finding: Finding) -> bool:
    if cause.rule != "gain-mismatch":
        return True
    small = float(cause.evidence["compound"]) < 1
    return not (small and finding.rule in GROWS) and not (not small and finding.rule in SHRINKS)
