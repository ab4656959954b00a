"""Where claims are found: those of the lab, and files of users."""

import difflib
import importlib
import pkgutil
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

from evenflow.errors import ClaimError
from evenflow.lab.claim import Claim
from evenflow.probe.guard import told_as

PACKAGE = "evenflow.lab.claims"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a claim is, in a form that can be sent to another process.

    Attributes:
        name: The module's dotted name, or the path of a user's file.
        text: The text of a user's file, so that all trials of a run use the same; empty for a module.
    """

    name: str
    text: str = ""

    def load(self) -> Claim:
        """Import the claim; once for each text.

        Raises:
            ClaimError: It cannot be imported, or is no claim.
        """
        return _load(self)


def find(names: Sequence[str] = ()) -> list[Source]:
    """Find claims by their ids, or by the paths of files.

    Args:
        names: Ids such as "T1" (in any case) or paths that end in ".py"; none means all claims of the lab.

    Raises:
        ClaimError: There is no such claim or file.

    Examples:
        >>> [source.load().id for source in find(["t24", "T1"])]
        ['T24', 'T1']
    """
    built_in = by_id()
    if not names:
        return list(built_in.values())
    return [_file(name) if name.endswith(".py") else _known(name, built_in) for name in dict.fromkeys(names)]


@cache
def by_id() -> dict[str, Source]:
    """The claims of the lab by their ids: those of the notes (T) first, then those of papers (P), by their files."""
    found = pkgutil.iter_modules(importlib.import_module(PACKAGE).__path__)
    modules = sorted((one.name for one in found), key=lambda name: (not name.startswith("t"), name))
    sources = [Source(f"{PACKAGE}.{name}") for name in modules if not name.startswith("_")]
    return {source.load().id: source for source in sources}


def _known(name: str, built_in: dict[str, Source]) -> Source:
    ids = {identifier.lower(): identifier for identifier in built_in}
    if name.lower() not in ids:
        near = difflib.get_close_matches(name.lower(), ids, 1)
        hint = f"did you mean {ids[near[0]]}?" if near else "evenflow lab list shows them; a file must end in .py"
        raise ClaimError(f"there is no claim {name!r}; {hint}")
    return built_in[ids[name.lower()]]


def _file(name: str) -> Source:
    path = Path(name)
    if not path.is_file():
        raise ClaimError(f"there is no file {name}; the working folder is {Path.cwd()}")
    return Source(str(path.resolve()), path.read_text(encoding="utf-8"))


@cache
def _load(source: Source) -> Claim:
    if not source.text:
        module = importlib.import_module(source.name)
        return Claim.of_module(module, Path(str(module.__file__)).read_text(encoding="utf-8"))
    return Claim.of_module(_module(source), source.text)


def _module(source: Source) -> ModuleType:
    stem = re.sub(r"\W", "_", Path(source.name).stem)
    module = ModuleType(f"evenflow_claim_{stem}_{blake2b(source.text.encode(), digest_size=4).hexdigest()}")
    module.__file__ = source.name
    sys.modules[module.__name__] = module
    folder = str(Path(source.name).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with told_as(ClaimError, lambda error: f"importing {source.name} raised {error}"):
        exec(compile(source.text, source.name, "exec"), vars(module))
    return module
