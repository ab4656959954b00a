"""What a healthy network does by chance: the null distribution that the rules about depth compare with.

In a network whose weights keep the second moment on average, the logarithm of the squared norm of a signal after random
layers of fan-ins `n_1, n_2, ...` is close to normal with mean `-beta/2` and variance `beta = 5 * sum(1 / n_l)` (Hanin &
Nica 2019, "Products of many large random matrices and gradients in deep neural networks", theorem 1, for ReLU; bounded
activations fluctuate less). A threshold on a ratio of norms is therefore widened by three standard deviations of its
logarithm.
"""

import math
from collections.abc import Iterable

from evenflow.probe import LayerRecord

ASSUMED_FAN = 64.0
SIGMAS = 3.0


def tolerance(layers: Iterable[LayerRecord]) -> float:
    """The factor by which the norm of a signal may leave its mean after these layers, at three standard deviations.

    Example:
        >>> tolerance([])
        1.0
    """
    beta = sum(
        5 / max(1.0, layer.fans.fan_in if layer.fans else ASSUMED_FAN) for layer in layers if layer.role == "weight"
    )
    return math.exp(SIGMAS * math.sqrt(beta) / 2 + beta / 4)
