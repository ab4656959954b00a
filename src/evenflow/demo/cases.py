"""Networks initialised as the notes on initialisation warn against."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from evenflow import init
from evenflow.random import Stream

FEATURES, CLASSES, WEIGHT_SEED = 64, 10, 1


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
    model = nn.Sequential()
    for number, (features, units) in enumerate(pairwise(widths), start=1):
        model.add_module(f"linear{number}", nn.Linear(features, units))
        if number < depth:
            model.add_module(f"{activation.__name__.lower()}{number}", activation())
    return model


def filled(model: nn.Sequential, rule: Callable[..., Tensor]) -> nn.Sequential:
    """Draw every weight by `rule`, and make every bias zero."""
    for name, parameter in zeroed(model).named_parameters():
        if parameter.dim() > 1:
            rule(parameter, stream=Stream(WEIGHT_SEED, name))
    return model


def zeroed(model: nn.Sequential) -> nn.Sequential:
    """Make every weight and every bias zero."""
    for parameter in model.parameters():
        init.zeros_(parameter)
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
        lambda: zeroed(multilayer(20, 96, nn.Tanh)),
    ),
    SickNetwork(
        "30 ReLU layers, Glorot's weights",
        "Glorot's rule does not know that ReLU halves the second moment at every layer.",
        lambda: filled(multilayer(30, 128, nn.ReLU), init.glorot_normal_),
    ),
)
