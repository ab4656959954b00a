"""Change the normalisation layers of a whole model in place: fuse, fold, convert, insert, freeze, recalibrate."""

from evenflow.norm.surgery.accelerate import Acceleration, Fusion, accelerate_
from evenflow.norm.surgery.convert import Conversion, Converted, convert_
from evenflow.norm.surgery.fold import Fold, Folding, fold_
from evenflow.norm.surgery.freeze import Freezing, freeze_, unfreeze_
from evenflow.norm.surgery.insert import Insertion, insert_
from evenflow.norm.surgery.kept import Kept
from evenflow.norm.surgery.recalibrate import Recalibration, recalibrate_

__all__ = [
    "Acceleration",
    "Conversion",
    "Converted",
    "Fold",
    "Folding",
    "Freezing",
    "Fusion",
    "Insertion",
    "Kept",
    "Recalibration",
    "accelerate_",
    "convert_",
    "fold_",
    "freeze_",
    "insert_",
    "recalibrate_",
    "unfreeze_",
]
