"""Plans that are read from files, and weights that are written to them."""

import os
import tempfile
from pathlib import Path

from torch import nn

from evenflow.errors import DestinationError, SourceError
from evenflow.planning import InitPlan


def read_plan(path: Path) -> InitPlan:
    """The plan in a TOML or JSON file, by its ending.

    Raises:
        SourceError: It cannot be read, or has another ending.
        PlanError: It holds no plan.
    """
    readers = {".toml": InitPlan.from_toml, ".json": InitPlan.from_json}
    if path.suffix not in readers:
        raise SourceError(f"--plan {path} must end in .toml or .json, as `evenflow plan --format` prints them")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"--plan {path} cannot be read: {error}") from None
    return readers[path.suffix](text)


def require_file(path: Path) -> None:
    """Check that a file can be written here, before the work.

    Raises:
        DestinationError: The path is a folder, lies in none, or in one that cannot be written to.
    """
    if path.is_dir():
        raise DestinationError(f"--output {path} is a folder; name a file in it: {path / 'weights.safetensors'}")
    if not path.parent.is_dir():
        raise DestinationError(f"--output {path}: there is no folder {path.parent}; create it, or name another file")
    if not os.access(path.parent, os.W_OK):
        raise DestinationError(f"--output {path} cannot be written (no permission in {path.parent}); name another file")


def write_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state as safetensors beside the target, and move it there when it is complete.

    Of tensors that share memory the first name is kept, as safetensors does; it loads them with
    `safetensors.torch.load_model`.

    Raises:
        DestinationError: The file cannot be written (any more); an older file of that name is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        save_model(model, name)
        part.chmod(0o666 & ~_umask())
        part.replace(path)
    except (OSError, SafetensorError) as error:
        raise DestinationError(f"--output {path} cannot be written ({error}); name another file") from None
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
