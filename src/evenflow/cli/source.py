"""Find the Python object that `FILE.py:NAME` or `package.module:NAME` names."""

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from evenflow.errors import SourceError
from evenflow.probe.guard import told_as


def load_object(source: str, what: str) -> object:
    """Import the file or module and return the attribute.

    Args:
        source: `FILE.py:NAME` or `package.module:NAME`; NAME may be dotted.
        what: What it should be, for messages, such as "model".

    Raises:
        SourceError: It has another form, the file or name is not there, or the import raises.
    """
    place, colon, name = source.rpartition(":")
    if not colon or not place or not name:
        raise SourceError(f"the {what} must be given as FILE.py:NAME or package.module:NAME; got {source!r}")
    module = _module_of_file(place) if place.endswith(".py") else _module_by_name(place, what)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise SourceError(f"{place} has no {name!r}; {_known(module, name)}")
        found = getattr(found, part)
    return found


def _module_of_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.py")], 1)
        hint = f"; did you mean {path.with_name(near[0])}?" if near else ""
        raise SourceError(f"there is no file {place}{hint}")
    name = f"evenflow_user_{path.stem}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise SourceError(f"{place} is no Python file that can be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    with _importable(path.parent), told_as(SourceError, lambda error: f"importing {place} raised {error}"):
        specification.loader.exec_module(module)
    return module


def _module_by_name(place: str, what: str) -> ModuleType:
    with _importable(Path.cwd()), told_as(SourceError, lambda error: f"importing {place} raised {error}"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise SourceError(
                f"there is no module {error.name!r}; give the {what} as FILE.py:NAME, or run from the folder that "
                "holds the package"
            ) from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _known(module: ModuleType, name: str) -> str:
    public = sorted(key for key in vars(module) if not key.startswith("_"))
    near = difflib.get_close_matches(name, public, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"it defines {', '.join(public[:8])}" if public else "it defines nothing public"
