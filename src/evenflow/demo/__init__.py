"""The main job on real data: three sick networks are checked, treated, checked again, and trained beside themselves."""

from evenflow.demo.cases import CASES, SickNetwork
from evenflow.demo.run import Proof, prove
from evenflow.demo.training import Run, train

__all__ = ["CASES", "Proof", "Run", "SickNetwork", "prove", "train"]
