"""A data set in a file, to hand it from one process to another."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from evenflow.data.digits import Split
from evenflow.errors import DataFileError

PARTS = ("inputs", "targets", "test_inputs", "test_targets")


def write_split(split: Split, path: Path) -> None:
    """Write a data set as safetensors.

    Examples:
        >>> import tempfile
        >>> from evenflow.data import digits
        >>> path = Path(tempfile.mkdtemp()) / "digits.safetensors"
        >>> write_split(digits(), path)
        >>> bool((read_split(path).inputs == digits().inputs).all())
        True
    """
    save_file({name: getattr(split, name).contiguous() for name in PARTS}, path)


def read_split(path: Path) -> Split:
    """Read a data set that `write_split` wrote.

    Raises:
        DataFileError: The file is not there, or holds something else.
    """
    try:
        found = load_file(path)
        return Split(*(found[name] for name in PARTS))
    except (OSError, SafetensorError, KeyError) as error:
        raise DataFileError(f"{path} holds no data set of evenflow ({error}); write it again") from error
