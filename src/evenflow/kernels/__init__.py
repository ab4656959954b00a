"""Compiled loops over arrays and scalars, and the threads that share them.

Importing this package does not load Numba: `find` does, when a draw is large enough to be worth it.
"""

from evenflow.kernels.many import loops, worth_loading
from evenflow.kernels.pool import share
from evenflow.kernels.registry import find
from evenflow.kernels.team import torch_team

__all__ = ["find", "loops", "share", "torch_team", "worth_loading"]
