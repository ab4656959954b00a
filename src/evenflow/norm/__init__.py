"""Batch normalisation: Algorithm 1 as a reference, drop-in function and layers, surgery on a model's layers."""

from evenflow.norm.functional import batch_norm
from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d
from evenflow.norm.surgery import Acceleration, Fusion, Insertion, Kept, accelerate_, insert_

__all__ = [
    "Acceleration",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Fusion",
    "Insertion",
    "Kept",
    "accelerate_",
    "batch_norm",
    "insert_",
]
