"""The rules, one symptom a file, each a function from a record to findings, ordered from cause to consequence."""

from collections.abc import Callable, Iterator

from evenflow.diagnose.finding import Finding
from evenflow.diagnose.rules import (
    conditions,
    cut_gradient,
    dead,
    exploding_gradient,
    exploding_inside,
    exploding_signal,
    gain_mismatch,
    input_scale,
    loss_at_start,
    non_finite,
    saturated,
    symmetric,
    vanishing_gradient,
    vanishing_signal,
)
from evenflow.probe import NetworkRecord

Rule = Callable[[NetworkRecord], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    non_finite.find,
    input_scale.find,
    symmetric.find,
    gain_mismatch.find,
    saturated.find,
    dead.find,
    exploding_signal.find,
    vanishing_signal.find,
    exploding_gradient.find,
    exploding_inside.find,
    vanishing_gradient.find,
    loss_at_start.find,
    cut_gradient.find,
    conditions.find,
)

__all__ = ["RULES", "Rule"]
