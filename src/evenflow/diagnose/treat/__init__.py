"""Remedies, one a file, and the prescription that holds them."""

from evenflow.diagnose.treat.clip_grad_norm import ClipGradNorm
from evenflow.diagnose.treat.insert_batch_norm import InsertBatchNorm
from evenflow.diagnose.treat.prescription import Prescription
from evenflow.diagnose.treat.reinitialize import Redraw, Reinitialize
from evenflow.diagnose.treat.remedy import Remedy, Undo
from evenflow.diagnose.treat.standardize_input import StandardizeInput

__all__ = [
    "ClipGradNorm",
    "InsertBatchNorm",
    "Prescription",
    "Redraw",
    "Reinitialize",
    "Remedy",
    "StandardizeInput",
    "Undo",
]
