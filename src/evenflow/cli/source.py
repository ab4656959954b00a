"""Find the Python object that `FILE.py:NAME` or `package.module:NAME` names."""

import difflib
import importlib
import importlib.util
import inspect
import sys
import zlib
from functools import cache
from pathlib import Path
from types import ModuleType

from evenflow.cli.user_code import running
from evenflow.errors import SourceError


def load_object(source: str, what: str) -> object:
    """Import the file or module and return the attribute.

    Its folder (for a module, the working folder) stays on the import path, as if Python had been started on it.

    Args:
        source: `FILE.py:NAME` or `package.module:NAME`; NAME may be dotted.
        what: What it should be, for messages, such as "model".

    Raises:
        SourceError: It has another form, the file or name is not there, or the import raises.
    """
    place, _, name = source.rpartition(":")
    if not place or not name:
        raise SourceError(f"the {what} must be given as FILE.py:NAME or package.module:NAME; got {source!r}")
    module = _module_of_file(_existing(place)) if place.endswith(".py") else _module_by_name(place, what)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise SourceError(f"{place} has no {name!r}; {_known(module, name)}")
        found = getattr(found, part)
    return found


def _existing(place: str) -> Path:
    path = Path(place)
    if path.is_file():
        return path.resolve()
    if not path.parent.is_dir():
        raise SourceError(f"there is no folder {path.parent}, so no file {place}; the working folder is {Path.cwd()}")
    near = difflib.get_close_matches(path.name, [other.name for other in path.parent.glob("*.py")], 1)
    raise SourceError(
        f"there is no file {place}; " + (f"did you mean {path.with_name(near[0])}?" if near else "check the path")
    )


@cache
def _module_of_file(path: Path) -> ModuleType:
    """The file as a module, run once even when the model, the data and the loss all come from it."""
    name = f"evenflow_user_{path.stem}_{zlib.crc32(bytes(path)):08x}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise SourceError(f"{path} is no Python file that can be imported")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    _make_importable(path.parent)
    try:
        with running(f"importing {path.name}"):
            specification.loader.exec_module(module)
    except SourceError:
        del sys.modules[name]
        raise
    return module


def _module_by_name(place: str, what: str) -> ModuleType:
    _make_importable(Path.cwd())
    with running(f"importing {place}"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise
            as_file = Path(*place.split(".")).with_suffix(".py")
            hint = f"did you mean {as_file}:NAME?" if as_file.is_file() else "run from the folder that holds it"
            raise SourceError(
                f"there is no module {error.name!r}; give the {what} as FILE.py:NAME or package.module:NAME: {hint}"
            ) from None


def _make_importable(folder: Path) -> None:
    """Let the user's file import its neighbours, also later, from inside a function."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _known(module: ModuleType, name: str) -> str:
    public = sorted(key for key, value in vars(module).items() if not key.startswith("_") and _defined(module, value))
    near = difflib.get_close_matches(name, public, 1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"it defines {', '.join(public[:8])}" if public else "it defines nothing public"


def _defined(module: ModuleType, value: object) -> bool:
    """Whether the module made the value itself, as far as one can see."""
    if inspect.isfunction(value) or inspect.isclass(value):
        return value.__module__ == module.__name__
    return not inspect.ismodule(value)
