"""A pair of fans, and torch's shape convention for a bare weight."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from evenflow.errors import TensorShapeError


class Fans(NamedTuple):
    r"""How many weights meet in one output element, and in one element of the input's gradient.

    For independent weights of mean zero that do not depend on the inputs $x$ or output gradients
    $\delta y$,

    $$
    \mathrm{Var}(y) = \text{fan\_in} \, \mathrm{Var}(w) \, \mathbb{E}[x^2], \qquad
    \mathrm{Var}(\delta x) = \text{fan\_out} \, \mathrm{Var}(w) \, \mathbb{E}[\delta y^2].
    $$

    Both are floats: in a strided convolution an input element meets, on average, a fraction of a kernel.

    Examples:
        >>> fan_in, fan_out = Fans(3.0, 2.0)
        >>> Fans(3.0, 2.0).average
        2.5
    """

    fan_in: float
    fan_out: float

    @property
    def average(self) -> float:
        """The mean of both, the compromise of Glorot and Bengio (2010), equation 12."""
        return (self.fan_in + self.fan_out) / 2


def shape_fans(shape: Sequence[int]) -> Fans:
    """Return the fans of a weight of this shape by torch's convention.

    Dimension 0 counts outputs, dimension 1 inputs, the rest is the receptive field. Stride and groups do not
    show in a shape, so a layer says more than its weight does.

    Raises:
        TensorShapeError: Fewer than two dimensions.

    Examples:
        >>> shape_fans((16, 3, 5, 5))
        Fans(fan_in=75.0, fan_out=400.0)
    """
    if len(shape) < 2:
        raise TensorShapeError(
            f"fans are not defined for a tensor of shape {tuple(shape)}: at least 2 dimensions (outputs, "
            "inputs, ...) are needed; pass the layer itself, or initialise a bias or scale with a constant"
        )
    outputs, inputs, *field = shape
    return Fans(float(inputs * math.prod(field)), float(outputs * math.prod(field)))
