"""Claims about initialisation, normalisation and clipping, measured.

A claim is a file: statement, source, prediction, design, measurement, verdict, figure. The names below are what such
a file is written with; `evenflow lab run` measures it.
"""

from importlib import import_module
from types import ModuleType

from evenflow.lab.budget import Budget
from evenflow.lab.claim import Claim
from evenflow.lab.figure import Cells, Figure, Panel, Series
from evenflow.lab.prediction import Prediction, Range
from evenflow.lab.results import Results
from evenflow.lab.statistics import (
    exact_check,
    mean_check,
    paired_check,
    ratio_check,
    share_check,
    share_difference_check,
    steps_check,
)
from evenflow.lab.trial import Measurement, Trial, grid
from evenflow.lab.verdict import Check, Verdict, judge

__all__ = [
    "Budget",
    "Cells",
    "Check",
    "Claim",
    "Figure",
    "Measurement",
    "Panel",
    "Prediction",
    "Range",
    "Results",
    "Series",
    "Trial",
    "Verdict",
    "exact_check",
    "grid",
    "judge",
    "mean_check",
    "paired_check",
    "ratio_check",
    "share_check",
    "share_difference_check",
    "steps_check",
]

_PARTS = {"measures", "training"}


def __getattr__(name: str) -> ModuleType:
    """Load what needs torch when it is first used."""
    if name in _PARTS:
        return import_module(f"evenflow.lab.{name}")
    raise AttributeError(f"module 'evenflow.lab' has no attribute {name!r}")
