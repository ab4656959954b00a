"""Batch normalisation: Algorithm 1 as a reference, drop-in function and layers, variants, insertion in a model."""

from evenflow.norm.functional import batch_norm
from evenflow.norm.ghost import GhostBatchNorm
from evenflow.norm.insert import Insertion, insert_
from evenflow.norm.lazy import LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d
from evenflow.norm.masked import MaskedBatchNorm
from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d, EvenBatchNorm
from evenflow.norm.provisional import ProvisionalStatistics, provisional_statistics
from evenflow.norm.renorm import BatchRenorm
from evenflow.norm.sync import SyncBatchNorm
from evenflow.norm.whole_batch import whole_batch

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchRenorm",
    "EvenBatchNorm",
    "GhostBatchNorm",
    "Insertion",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "MaskedBatchNorm",
    "ProvisionalStatistics",
    "SyncBatchNorm",
    "batch_norm",
    "insert_",
    "provisional_statistics",
    "whole_batch",
]
