"""Which modules are being executed, also when one of them raises and its caller goes on."""

import sys
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a module.

    Attributes:
        name: Its qualified name; empty for the model itself.
        module: The module.
        calls: How many layers there were before it.
        events: How many layers and activations there were before it.
        handled: The exception that its caller was handling.
    """

    name: str
    module: nn.Module
    calls: int
    events: int
    handled: BaseException | None


class ModuleStack:
    """The modules that are being executed, innermost last.

    Attributes:
        place: After an error, the innermost module that it left, for messages.
    """

    def __init__(self, model: nn.Module) -> None:
        self.place = type(model).__name__
        self._runs: list[Run] = []
        self._raising: BaseException | None = None

    def __bool__(self) -> bool:
        return bool(self._runs)

    @property
    def innermost(self) -> Run:
        """The module whose code is running."""
        return self._runs[-1]

    def enter(self, name: str, module: nn.Module, *, calls: int, events: int) -> None:
        """Begin a module."""
        self._runs.append(Run(name, module, calls, events, sys.exception()))

    def leave(self, module: nn.Module) -> Run | None:
        """End a module, and what it left open; None when it raised, or never began."""
        if not any(run.module is module for run in self._runs):
            return None
        run = self._runs.pop()
        while run.module is not module:
            run = self._runs.pop()
        raising = sys.exception()
        if raising is run.handled:
            return run
        if raising is not self._raising:
            self._raising = raising
            self.place = f"{run.name} ({type(module).__name__})" if run.name else type(module).__name__
        return None

    def clear(self) -> None:
        """Forget what is running: an exception holds on to frames, and those to tensors."""
        self._runs.clear()
        self._raising = None
