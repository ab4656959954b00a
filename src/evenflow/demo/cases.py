"""Networks initialised as the notes on initialisation warn against."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from evenflow import init
from evenflow.random import Stream

FEATURES, CLASSES = 64, 10


@dataclass(frozen=True, slots=True)
class SickNetwork:
    """A network and what is wrong with it.

    Attributes:
        title: What it is, in a few words.
        subtitle: How it was initialised, and what the notes say about that.
        build: Makes it, always with the same weights.
    """

    title: str
    subtitle: str
    build: Callable[[], nn.Sequential]


def multilayer(depth: int, width: int, activation: type[nn.Module]) -> nn.Sequential:
    """`depth` linear layers with an activation between them, from 64 features to 10 classes."""
    widths = [FEATURES, *[width] * (depth - 1), CLASSES]
    layers: list[nn.Module] = []
    for place in range(depth):
        layers += [nn.Linear(widths[place], widths[place + 1]), activation()]
    return nn.Sequential(*layers[:-1])


def filled(model: nn.Sequential, rule: Callable[..., Tensor], *, random: bool = True) -> nn.Sequential:
    """Fill every weight by `rule` and every bias with zero."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            init.zeros_(parameter)
        elif random:
            rule(parameter, stream=Stream(1, name))
        else:
            rule(parameter)
    return model


CASES = (
    SickNetwork(
        "20 tanh layers, weights from N(0, 1)",
        "Random weights of large magnitude saturate tanh.",
        lambda: filled(multilayer(20, 64, nn.Tanh), init.random_normal_),
    ),
    SickNetwork(
        "20 tanh layers, all weights zero",
        "With zero weights all neurons of a layer learn the same feature, if they learn at all.",
        lambda: filled(multilayer(20, 64, nn.Tanh), init.zeros_, random=False),
    ),
    SickNetwork(
        "30 ReLU layers, Glorot's weights",
        "Glorot's rule does not know that ReLU halves the second moment at every layer.",
        lambda: filled(multilayer(30, 128, nn.ReLU), init.glorot_normal_),
    ),
)
