"""From the name of a loss, or `FILE.py:NAME`, to a function."""

import difflib
import re
from collections.abc import Callable
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from evenflow.cli.source import load_object
from evenflow.cli.user_code import called, kind
from evenflow.errors import SourceError

Loss = Callable[..., Tensor]
LOSS = re.compile("loss|entropy|^kl_div$")


def load_loss(source: str) -> Loss:
    """A function of `torch.nn.functional` by its name, such as "mse_loss", or what the source names.

    A class of `torch.nn.Module`, such as one's own loss, is called without arguments to make the loss.

    Raises:
        SourceError: There is no such function.
    """
    if ":" not in source:
        return _functional(source)
    found = load_object(source, "loss")
    if isinstance(found, type) and issubclass(found, nn.Module):
        found = called(found, source, "the loss")
    if not callable(found):
        raise SourceError(f"{source} is {kind(found)}; it must be a function loss(output, targets)")
    return cast("Loss", found)


def _functional(name: str) -> Loss:
    losses = {key: value for key, value in vars(functional).items() if LOSS.search(key) and callable(value)}
    if name in losses:
        return cast("Loss", losses[name])
    near = difflib.get_close_matches(name, losses, 1)
    hint = f"did you mean {near[0]}?" if near else "use one such as mse_loss, or give your own as FILE.py:NAME"
    raise SourceError(f"torch.nn.functional has no loss {name!r}; {hint}")
