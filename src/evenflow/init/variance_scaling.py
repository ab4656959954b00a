"""The rule behind the Glorot, He and LeCun families, with every choice open."""

import torch
from jaxtyping import Inexact
from torch import Tensor

from evenflow import checks
from evenflow.init.scaled import DISTRIBUTIONS, MODES, fill_scaled
from evenflow.random import Stream
from evenflow.theory import Fans


def variance_scaling_(
    tensor: Inexact[Tensor, "..."],
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "normal",
    *,
    generator: torch.Generator | None = None,
    stream: Stream | None = None,
    fans: Fans | None = None,
) -> Tensor:
    r"""Fill a weight with draws of mean 0 and a variance that the fans set, in place.

    $$ \mathrm{Var}(w) = \text{scale} / n $$

    with $n$ by `mode`: "fan_in", "fan_out", "fan_avg" $= (\text{fan\_in} + \text{fan\_out}) / 2$ or
    "fan_geo_avg" $= \sqrt{\text{fan\_in}\,\text{fan\_out}}$.

    "truncated_normal" is cut at two standard deviations of the distribution before truncation, which is
    widened by 1 / 0.8796 so that the variance after it is the one asked for, as in Keras and JAX.

    Args:
        tensor: A weight, floating-point or complex; the parts of complex numbers have half the variance each.
        scale: The variance times the fan, above 0: 2 for He's rule, 1 for Glorot's and LeCun's.
        mode: Which fan.
        distribution: "normal", "truncated_normal" or "uniform"; the second is not defined for complex
            tensors.
        generator: Where the key of the draws comes from; None is torch's default generator.
        stream: The addressed stream to draw from, in place of a generator.
        fans: The fans of the layer, as `evenflow.fans(layer)` gives them; without them, those of the shape,
            by torch's convention (outputs, inputs, ...), which knows no groups and no stride.

    Returns:
        The same tensor.

    Raises:
        TensorShapeError: The tensor has fewer than two dimensions and no fans are given.
        TensorDtypeError: The tensor is neither floating-point nor complex.
        SharedMemoryError: Elements of the tensor share memory.
        ParameterTypeError: An argument has the wrong type.
        ParameterValueError: `scale` is not positive and finite, `mode` or `distribution` is unknown, a fan is
            not positive, or generator and stream are both given.

    Examples:
        >>> weight = variance_scaling_(torch.empty(500, 200), 2.0, "fan_in", "truncated_normal")
        >>> round(weight.std().item(), 2)
        0.1

    References:
        The initialisers `VarianceScaling` of Keras and `variance_scaling` of JAX.
    """
    variance = checks.real("scale", scale, low=0, open_low=True)
    checks.choice("mode", mode, MODES)
    checks.choice("distribution", distribution, DISTRIBUTIONS)
    return fill_scaled(tensor, variance, mode, distribution, fans=fans, generator=generator, stream=stream)
