"""Measures of training and of loss surfaces, for claims and for models of your own."""

from evenflow.lab.measures.landscape import AlongGradient, along_gradient
from evenflow.lab.measures.oscillation import Oscillation, oscillation
from evenflow.lab.measures.shift import LayerShift, covariate_shift
from evenflow.lab.measures.slices import Slice, loss_slice
from evenflow.lab.measures.trainable import Region, trainable_region

__all__ = [
    "AlongGradient",
    "LayerShift",
    "Oscillation",
    "Region",
    "Slice",
    "along_gradient",
    "covariate_shift",
    "loss_slice",
    "oscillation",
    "trainable_region",
]
