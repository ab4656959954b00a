"""Where jobs run: processes of this machine, or a Ray cluster. An engine computes; the driver alone writes."""

from evenflow.lab.engines.engine import Engine
from evenflow.lab.engines.local import LocalEngine

__all__ = ["Engine", "LocalEngine"]
