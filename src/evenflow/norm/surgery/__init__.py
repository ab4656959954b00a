"""Change the normalisation layers of a whole model in place: fuse, fold, convert, insert, freeze, recalibrate."""

from evenflow.norm.surgery.accelerate import Acceleration, Fusion, accelerate_
from evenflow.norm.surgery.convert import Conversion, Converted, convert_
from evenflow.norm.surgery.freeze import Freezing, freeze_, unfreeze_
from evenflow.norm.surgery.insert import Insertion, insert_
from evenflow.norm.surgery.kept import Kept

__all__ = [
    "Acceleration",
    "Conversion",
    "Converted",
    "Freezing",
    "Fusion",
    "Insertion",
    "Kept",
    "accelerate_",
    "convert_",
    "freeze_",
    "insert_",
    "unfreeze_",
]
