"""Batch normalisation: Algorithm 1 as a reference, drop-in function and layers, variants, surgery on models."""

from evenflow.norm.functional import batch_norm
from evenflow.norm.ghost import GhostBatchNorm
from evenflow.norm.lazy import LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d
from evenflow.norm.masked import MaskedBatchNorm
from evenflow.norm.modules import BatchNorm1d, BatchNorm2d, BatchNorm3d, EvenBatchNorm
from evenflow.norm.provisional import ProvisionalStatistics, provisional_statistics
from evenflow.norm.renorm import BatchRenorm
from evenflow.norm.surgery import (
    Acceleration,
    Conversion,
    Converted,
    Fold,
    Folding,
    Freezing,
    Fusion,
    Insertion,
    Kept,
    Recalibration,
    accelerate_,
    convert_,
    fold_,
    freeze_,
    insert_,
    recalibrate_,
    unfreeze_,
)
from evenflow.norm.sync import SyncBatchNorm
from evenflow.norm.whole_batch import whole_batch

__all__ = [
    "Acceleration",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "BatchRenorm",
    "Conversion",
    "Converted",
    "EvenBatchNorm",
    "Fold",
    "Folding",
    "Freezing",
    "Fusion",
    "GhostBatchNorm",
    "Insertion",
    "Kept",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "MaskedBatchNorm",
    "ProvisionalStatistics",
    "Recalibration",
    "SyncBatchNorm",
    "accelerate_",
    "batch_norm",
    "convert_",
    "fold_",
    "freeze_",
    "insert_",
    "provisional_statistics",
    "recalibrate_",
    "unfreeze_",
    "whole_batch",
]
