"""From `FILE.py:NAME` to a model."""

from torch import nn

from evenflow.cli.source import load_object
from evenflow.cli.user_code import called, kind
from evenflow.errors import SourceError


def load_model(source: str) -> nn.Module:
    """The module that the source names, or that the function or class there gives when called without arguments.

    Raises:
        SourceError: It leads to nothing of the kind, or the callable raises.
    """
    found = load_object(source, "model")
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise SourceError(f"{source} is {kind(found)}; it must be a torch.nn.Module or a function that returns one")
    model = called(found, source, "the model")
    if not isinstance(model, nn.Module):
        raise SourceError(f"{source} returned {kind(model)}; it must return a torch.nn.Module")
    return model
