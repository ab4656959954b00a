"""Findings by cause: each root with what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from evenflow.diagnose.finding import Finding

HEADINGS = {
    "dead": "Dead units",
    "saturated": "Saturated activations",
    "symmetric": "Symmetric units",
    "non-finite": "NaN or infinity",
}


@dataclass(frozen=True, slots=True)
class Chain:
    """A root cause and the findings that it explains, directly or through one another."""

    root: Finding
    consequences: tuple[Finding, ...] = ()


def chains(findings: Sequence[Finding]) -> tuple[Chain, ...]:
    """Group findings by their root cause, keeping their order.

    Every finding is in exactly one chain. One whose cause is not among the findings is a root, and so is the
    first of a circle of causes.
    """
    first_by_rule: dict[str, int] = {}
    for position, finding in enumerate(findings):
        first_by_rule.setdefault(finding.rule, position)
    roots = [_root(position, findings, first_by_rule) for position in range(len(findings))]
    return tuple(
        Chain(finding, tuple(f for i, f in enumerate(findings) if roots[i] == position and i != position))
        for position, finding in enumerate(findings)
        if roots[position] == position
    )


def _root(position: int, findings: Sequence[Finding], first_by_rule: dict[str, int]) -> int:
    seen = [position]
    while (cause := findings[seen[-1]].cause) is not None and cause in first_by_rule:
        parent = first_by_rule[cause]
        if parent in seen:
            return min(seen[seen.index(parent) :])
        seen.append(parent)
    return seen[-1]


def title(rule: str) -> str:
    """The name of a rule as a heading.

    Examples:
        >>> title("vanishing-gradient"), title("dead")
        ('Vanishing gradient', 'Dead units')
    """
    return HEADINGS.get(rule, rule.replace("-", " ").capitalize())


def place(finding: Finding) -> str:
    """Where a finding is; empty where its rule says that already, as "input-scale" at "input" does."""
    return "" if finding.layer in finding.rule.split("-") else finding.layer


def more_layers(finding: Finding) -> tuple[str, ...]:
    """The layers that show a finding besides the first."""
    return tuple(name for name in dict.fromkeys(finding.layers) if name != finding.layer)
