"""Whose call it was, for warnings that point at a line of the user's."""

import sys

_OURS = ("evenflow", "torch", "contextlib")


def stack_level() -> int:
    """Return the `stacklevel` at which `warnings.warn` points to the first line outside evenflow and torch.

    The frames between differ from call to call: decorators, and the compiler once it is loaded, add some.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _OURS:
        level, frame = level + 1, frame.f_back
    return level
