"""Batch normalisation: Algorithm 1 as a reference, drop-in function and layers, insertion in a model."""

from evenflow.norm.functional import batch_norm
from evenflow.norm.insert import Insertion, insert_
from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Insertion", "batch_norm", "insert_"]
