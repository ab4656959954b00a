"""Keep the signals of a deep network even, from the first layer to the last and back, and prove it.

Every name below is public. Each part is imported when it is first used, so that `import evenflow` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from evenflow.version import __version__

if TYPE_CHECKING:
    from evenflow import clip, init, lab, norm, random, theory
    from evenflow.diagnose import Diagnosis, Finding, Prescription, TreatmentRecord, check, treat_
    from evenflow.errors import EvenflowError
    from evenflow.planning import InitPlan, initialize_, plan
    from evenflow.theory import Fans, Gain, fans, gain

__all__ = [
    "Diagnosis",
    "EvenflowError",
    "Fans",
    "Finding",
    "Gain",
    "InitPlan",
    "Prescription",
    "TreatmentRecord",
    "__version__",
    "check",
    "clip",
    "fans",
    "gain",
    "init",
    "initialize_",
    "lab",
    "norm",
    "plan",
    "random",
    "theory",
    "treat_",
]

_HOME = {
    "Diagnosis": "evenflow.diagnose",
    "EvenflowError": "evenflow.errors",
    "Fans": "evenflow.theory",
    "Finding": "evenflow.diagnose",
    "Gain": "evenflow.theory",
    "InitPlan": "evenflow.planning",
    "Prescription": "evenflow.diagnose",
    "TreatmentRecord": "evenflow.diagnose",
    "check": "evenflow.diagnose",
    "fans": "evenflow.theory",
    "gain": "evenflow.theory",
    "initialize_": "evenflow.planning",
    "plan": "evenflow.planning",
    "treat_": "evenflow.diagnose",
}
_PARTS = {"clip", "init", "lab", "norm", "random", "theory"}


def __getattr__(name: str) -> object:
    if name in _PARTS:
        return import_module(f"evenflow.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'evenflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
