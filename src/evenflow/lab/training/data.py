"""The data that trials name."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from evenflow.checks import choice
from evenflow.data import Split, digits, mnist, read_split

SETS: dict[str, Callable[[], Split]] = {"digits": digits, "mnist": mnist}


@cache
def load_split(name: str) -> Split:
    """A data set by the name that a trial's configuration gives.

    Args:
        name: "digits" (1,797 images of 8 by 8), "mnist" (5,000 of 28 by 28), or the path of a file that
            `evenflow.data.write_split` wrote, which is how `evenflow lab run --data` hands a user's data on.

    Raises:
        ParameterValueError: There is no such set.
        MissingExtraError: The package that carries it is not installed.
        DataFileError: The file is not there or holds no data set.

    Examples:
        >>> load_split("digits").inputs.shape
        torch.Size([1437, 64])
    """
    if name.endswith(".safetensors"):
        return read_split(Path(name))
    return SETS[choice("data", name, SETS)]()
