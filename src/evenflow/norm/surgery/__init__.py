"""Change the normalisation layers of a whole model in place: fuse, fold, convert, insert, freeze, recalibrate."""

from evenflow.norm.surgery.accelerate import Acceleration, Fusion, accelerate_
from evenflow.norm.surgery.insert import Insertion, insert_
from evenflow.norm.surgery.kept import Kept

__all__ = ["Acceleration", "Fusion", "Insertion", "Kept", "accelerate_", "insert_"]
