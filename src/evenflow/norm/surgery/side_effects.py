"""Take back what a forward does beside computing its output, and refuse to follow it then."""

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np
from torch import nn

from evenflow.norm.surgery.untraceable import Untraceable

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@contextmanager
def without_side_effects(owner: nn.Module) -> Iterator[None]:
    """Take back what the forward writes to its own module or to the random states, and refuse it then."""
    own = [owner, *(child for child in owner.modules() if isinstance(child, _CONTAINERS))]
    before = [(module, _contents(module)) for module in own]
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    changed: list[str] = []
    try:
        yield
    finally:
        for module, contents in before:
            changed += [name for name in _put_back(module, contents) if name not in changed]
        drawn = random.getstate() != states[0] or _differs(np.random.get_state(), states[1])  # noqa: NPY002
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
    if changed:
        raise Untraceable(f"its forward changes its attribute {changed[0]}")
    if drawn:
        raise Untraceable("its forward draws random numbers in Python")


def _differs(a: Any, b: Any) -> bool:
    return not np.array_equal(a[1], b[1]) or a[2:] != b[2:]


def _contents(module: nn.Module) -> dict[str, tuple[Any, Any]]:
    mutable = (dict, list, set, OrderedDict)
    return {name: (value, copy(value) if type(value) in mutable else None) for name, value in vars(module).items()}


def _put_back(module: nn.Module, contents: dict[str, tuple[Any, Any]]) -> Iterator[str]:
    """Restore the attributes of a module; yield the names of those that were something else."""
    held = module.__dict__
    for name in held.keys() - contents.keys():
        del held[name]
        yield name
    for name, (value, content) in contents.items():
        if held.get(name) is not value:
            held[name] = value
            yield name
        elif content is not None and not _same_content(value, content):
            _refill(value, content)
            yield name


def _refill(container: Any, content: Any) -> None:
    container.clear()
    (container.extend if isinstance(container, list) else container.update)(content)


def _same_content(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return list(a) == list(b) and all(x is y for x, y in zip(a.values(), b.values(), strict=True))
    return len(a) == len(b) and (a == b if isinstance(a, set) else all(x is y for x, y in zip(a, b, strict=True)))
