"""Plan the initialisation of a whole model by its graph, and carry the plan out."""

from evenflow.planning.audit import Audit
from evenflow.planning.difference import Change, PlanDifference
from evenflow.planning.entry import initialize_, plan
from evenflow.planning.init_plan import InitPlan
from evenflow.planning.row import Row

__all__ = ["Audit", "Change", "InitPlan", "PlanDifference", "Row", "initialize_", "plan"]
