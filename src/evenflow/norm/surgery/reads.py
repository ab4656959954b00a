"""Note which attributes of modules a piece of code reads, and tell later whether they still are what they were."""

import sys
import threading
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from evenflow.norm.surgery.layers import THEIRS

# Methods that show a module's children to its own forward.
_LISTS_CHILDREN = {"children", "named_children", "modules", "named_modules"}
_BY_VALUE = (bool, int, float, complex, str, bytes, type(None))


class Guard:
    """What a piece of code found in one attribute of a module.

    Attributes:
        module: The module.
        name: The attribute.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.name = name
        self.found = _snapshot(_value(module, name))

    def holds(self) -> bool:
        """Whether the attribute would be read as the same today."""
        return _same(self.found, _snapshot(_value(self.module, self.name)))


class Reads:
    """Records, while active as a context manager, the instance attributes that code outside torch reads of modules.

    torch's own containers count as the caller's code: which children they list decides what runs.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], Guard] = {}
        self._thread = threading.get_ident()

    def guards(self) -> tuple[Guard, ...]:
        """One for each attribute that was read."""
        return tuple(self._seen.values())

    def names(self, module: nn.Module) -> set[str]:
        """The attributes of this module that were read."""
        return {name for key, name in self._seen if key == id(module)}

    def require(self, module: nn.Module, *names: str) -> None:
        """Note attributes that nobody read but that matter."""
        for name in names:
            self._seen.setdefault((id(module), name), Guard(module, name))

    def __enter__(self) -> Self:
        recorder = self

        def read(module: nn.Module, name: str) -> Any:
            if threading.get_ident() == recorder._thread and _outside_torch(sys._getframe(1)):
                recorder._note(module, name)
            return object.__getattribute__(module, name)

        nn.Module.__getattribute__ = read  # type: ignore[method-assign,assignment]  # taken away in __exit__
        return self

    def __exit__(self, *error: object) -> None:
        del nn.Module.__getattribute__

    def _note(self, module: nn.Module, name: str) -> None:
        if name in _LISTS_CHILDREN:
            name = "_modules"
        known = object.__getattribute__(module, "__dict__")
        if name in known or any(name in known[place] for place in ("_modules", "_parameters", "_buffers")):
            self.require(module, name)


def _outside_torch(frame: Any) -> bool:
    caller = frame.f_globals.get("__name__", "")
    return not caller.startswith("torch.") or caller == "torch.nn.modules.container"


def _value(module: nn.Module, name: str) -> Any:
    held = module.__dict__
    if name in held:
        return held[name]
    for place in ("_parameters", "_buffers", "_modules"):
        if name in held[place]:
            return held[place][name]
    return AttributeError


def _snapshot(value: Any) -> Any:
    """What a decision can have been made by: contents of containers, types of modules, presence of tensors.

    A BatchNorm of evenflow counts as the one of torch that it stands for.
    """
    if isinstance(value, Mapping):
        return (dict, *value.keys(), *map(_identity, value.values()))
    if isinstance(value, (list, tuple, set)):
        return (type(value), *map(_snapshot, value))
    if isinstance(value, (nn.Module, Tensor)):
        return _identity(THEIRS.get(type(value), type(value)))
    return _identity(value)


class _Identity:
    """An object that is compared by identity, and copied and pickled along with those that refer to it."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _identity(value: Any) -> Any:
    return value if isinstance(value, _BY_VALUE) else _Identity(value)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, _Identity) and isinstance(b, _Identity):
        return a.value is b.value
    return type(a) is type(b) and (a is b or a == b)
