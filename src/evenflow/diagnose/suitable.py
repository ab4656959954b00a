"""What suits an activation: the interval of gains, and the rule that draws such weights."""

import math
from dataclasses import dataclass, field

from evenflow.errors import ParameterValueError
from evenflow.probe import Activation
from evenflow.theory import gain

BOUNDED = {"tanh", "sigmoid", "softsign", "hardtanh", "hardsigmoid", "erf", "sin"}
RECTIFIERS = {"relu", "leaky_relu", "prelu", "relu6"}

# Glorot & Bengio (2010) draw for tanh at gain 1, and later practice at 5/3: both train.
BOUNDED_GAINS = (1.0, 5 / 3)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of initialisation.

    Attributes:
        title: Its name, for a reader.
        function: The function of `evenflow.init`.
        options: Further keyword arguments of the function.
    """

    title: str
    function: str
    options: dict[str, float] = field(default_factory=dict)


def suitable_gains(activation: Activation | None) -> tuple[float, float]:
    """The smallest and the largest gain that keep a signal through a layer and the activation after it.

    A rectifier has one, which is exact at any depth. For the others the interval holds the exact gain and the one that
    is in use: sqrt(2) for the smooth relatives of ReLU, 1 for SELU, 1 to 5/3 for bounded functions. Every gain suits a
    function that has none, such as a shrinkage that lets nothing through.
    """
    if activation is None:
        return 1.0, 1.0
    name = activation.name
    try:
        exact = gain(name, activation.param).forward
    except ParameterValueError:
        return 0.0, math.inf
    if name in RECTIFIERS:
        return exact, exact
    if name in BOUNDED:
        return min(BOUNDED_GAINS[0], exact), max(BOUNDED_GAINS[1], exact)
    usual = 1.0 if name == "selu" else math.sqrt(2)
    return min(usual, exact), max(usual, exact)


def suitable_rule(activation: Activation | None) -> Rule:
    """The rule of initialisation for a layer by the activation that follows.

    Without an activation a layer gets LeCun's rule, which keeps the second moment of a linear map.
    """
    if activation is None or activation.name == "selu":
        return Rule("LeCun", "lecun_normal_")
    name, param = activation.name, activation.param
    if name in ("leaky_relu", "prelu"):
        return Rule("He", "he_normal_", {"slope": param or 0.0})
    if name in RECTIFIERS:
        return Rule("He", "he_normal_")
    if name in BOUNDED:
        return Rule("Glorot", "glorot_normal_")
    return Rule("variance scaling", "variance_scaling_", {"scale": suitable_gains(activation)[0] ** 2 or 1.0})
