"""The built-in sets by name, for the command line."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from evenflow.checks import choice
from evenflow.data.digits import digits_batch

BUILT_IN: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    "digits": digits_batch,
    "digits-images": partial(digits_batch, images=True),
}


def built_in(name: str) -> tuple[Tensor, Tensor]:
    """One batch of 256 samples of a built-in set: "digits" (N, 64) or "digits-images" (N, 1, 8, 8).

    Raises:
        ParameterValueError: There is no such set.
        MissingExtraError: The package that carries the data is not installed.
    """
    return BUILT_IN[choice("data", name, BUILT_IN)]()
