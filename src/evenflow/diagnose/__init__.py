"""From a record to a verdict, from a verdict to a cure, and the proof that the cure worked."""

from evenflow.diagnose.checkup import check, diagnose
from evenflow.diagnose.diagnosis import Diagnosis
from evenflow.diagnose.finding import Finding
from evenflow.diagnose.treat import Prescription
from evenflow.diagnose.treatment import TreatmentRecord, treat_

__all__ = ["Diagnosis", "Finding", "Prescription", "TreatmentRecord", "check", "diagnose", "treat_"]
