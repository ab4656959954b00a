"""Measures of training and of loss surfaces, for claims and for models of your own."""

from evenflow.lab.measures.oscillation import Oscillation, oscillation

__all__ = ["Oscillation", "oscillation"]
