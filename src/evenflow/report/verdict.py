"""The verdict: the state of a network in one word and one sentence."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.finding import Finding
from evenflow.report.chains import chains, place, title
from evenflow.report.numbers import count

State = Literal["error", "warning", "ok"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """State of a network.

    Attributes:
        state: The worst severity found; "ok" where that is a note or nothing.
        word: The state in a word or two.
        cause: The first root cause; empty for a healthy network.
        place: Where that is; empty where its name says so.
        tally: How much was found in how many layers.
    """

    state: State
    word: str
    cause: str
    place: str
    tally: str

    @property
    def reason(self) -> str:
        """The cause and its place in one phrase; empty for a healthy network."""
        phrase = self.cause if self.cause.startswith("NaN") else self.cause.lower()
        return f"{phrase} at {self.place}" if self.place else phrase


def verdict(diagnosis: Diagnosis) -> Verdict:
    """State the verdict on a diagnosis."""
    found = Counter(finding.severity for finding in diagnosis.findings)
    where = f"in {count(len(diagnosis.layers), 'layer')}"
    tally = ", ".join(count(found[s], s) for s in ("error", "warning", "note") if found[s])
    if not found["error"] and not found["warning"]:
        return Verdict("ok", "Healthy", "", "", f"{tally or 'nothing wrong found'} {where}")
    state: State = "error" if found["error"] else "warning"
    root = _worst_root(diagnosis, state)
    word = "Sick" if state == "error" else "Could be better"
    return Verdict(state, word, title(root.rule), place(root), f"{tally} {where}")


def _worst_root(diagnosis: Diagnosis, state: State) -> Finding:
    return next(
        chain.root
        for chain in chains(diagnosis.findings)
        if any(finding.severity == state for finding in (chain.root, *chain.consequences))
    )
