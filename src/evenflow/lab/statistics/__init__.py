"""Effects with intervals, for the verdicts of claims."""

from evenflow.lab.statistics.differences import mean_check, paired_check, ratio_check
from evenflow.lab.statistics.exact import exact_check
from evenflow.lab.statistics.holm import adjusted, corrected
from evenflow.lab.statistics.shares import share_check, share_difference_check
from evenflow.lab.statistics.survival import Survival, log_rank, steps_check, survival

__all__ = [
    "Survival",
    "adjusted",
    "corrected",
    "exact_check",
    "log_rank",
    "mean_check",
    "paired_check",
    "ratio_check",
    "share_check",
    "share_difference_check",
    "steps_check",
    "survival",
]
