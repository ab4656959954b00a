"""The places of a model where a module stands."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Site:
    """One place in the model where a module stands.

    Attributes:
        parent: The module that holds it.
        child_name: Its name there.
    """

    parent: nn.Module
    child_name: str

    def child(self) -> nn.Module | None:
        """The module that stands there now."""
        return self.parent._modules.get(self.child_name)

    def put(self, module: nn.Module) -> None:
        """Let another module stand there; the order of the children stays."""
        self.parent._modules[self.child_name] = module


def sites_of(model: nn.Module, module: nn.Module) -> Iterator[Site]:
    """Every place below `model` where `module` stands.

    Examples:
        >>> shared = nn.ReLU()
        >>> [site.child_name for site in sites_of(nn.Sequential(shared, nn.Linear(2, 2), shared), shared)]
        ['0', '2']
    """
    for parent in model.modules():
        for child_name, child in parent._modules.items():
            if child is module:
                yield Site(parent, child_name)
