"""Plans that are read from files, and weights that are written to them."""

import os
import tempfile
from pathlib import Path

import torch
from torch import Tensor, nn

from evenflow.errors import DestinationError, SourceError
from evenflow.planning import InitPlan
from evenflow.probe import unwrapped

# The dtypes that safetensors does not write.
WITHOUT_FORM = {torch.complex32, torch.complex128}


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
        DestinationError: The path is a folder or a device, lies in no folder, or in one that cannot be written to.
    """
    if path.is_dir():
        raise DestinationError(f"--output {path} is a folder; name a file in it: {path / 'weights.safetensors'}")
    if path.exists() and not path.is_file():
        raise DestinationError(f"--output {path} is no ordinary file, and would be replaced by one; name another file")
    if not path.parent.is_dir():
        raise DestinationError(f"--output {path}: there is no folder {path.parent}; create it, or name another file")
    _new_part(path).unlink()


def require_storable(model: nn.Module) -> None:
    """Check that safetensors has a form for all of a model's state, before the work.

    Raises:
        DestinationError: It has none for something.
    """
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.dtype in WITHOUT_FORM:
            raise DestinationError(
                f"safetensors has no form for {name}, {_kind(value)}; keep it out of the model's state_dict"
            )


def write_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state as safetensors beside the target, and move it there when it is complete.

    A tied tensor is written once, under its first name, as safetensors does; `safetensors.torch.load_model` loads it.
    The names are those of the model inside of compiled and data-parallel wrappers.

    Raises:
        DestinationError: The file cannot be written (any more); an older file of that name is untouched.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors, tied = _storable(unwrapped(model))
    target = path.resolve()  # what a link leads to is replaced, not the link
    part = _new_part(target)
    try:
        save_file(tensors, part, metadata={"format": "pt", **tied})
        part.chmod(0o666 & ~_umask())
        part.replace(target)
    except (OSError, SafetensorError) as error:
        raise DestinationError(f"--output {path} cannot be written ({error}); name another file") from None
    finally:
        part.unlink(missing_ok=True)


def _new_part(path: Path) -> Path:
    """An empty file of a new name beside the path."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise DestinationError(f"--output {path} cannot be written ({error.strerror}); name another file") from None
    os.close(handle)
    return Path(name)


def _storable(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a model's state, and the further names of tied ones with the name that each is kept under."""
    kept: dict[tuple[object, ...], str] = {}
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, value in model.state_dict().items():
        place = value.data_ptr(), value.dtype, value.shape, value.stride()
        first = kept.setdefault(place, name) if value.numel() else name
        if first == name:
            tensors[name] = value.contiguous() if _fills(value) else value.clone(memory_format=torch.contiguous_format)
        else:
            tied[name] = first
    return tensors, tied


def _fills(tensor: Tensor) -> bool:
    """Whether a tensor has its memory to itself."""
    return tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()


def _kind(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"which is a {type(value).__name__}"
    return f"a tensor of dtype {value.dtype} and layout {value.layout}"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
