"""Why a module cannot be followed."""

from torch import nn

from evenflow.errors import EvenflowError


class Untraceable(EvenflowError):  # noqa: N818  # it is a finding, and never leaves the package
    """The forward of a module cannot be written down as a graph.

    Attributes:
        module: In which module it was seen.
    """

    module: nn.Module | None = None
