"""Convolutions with groups and strides.

Along one dimension, a stride s keeps every s-th output. An output still sums over k inputs, but an input
reaches only k / s outputs on average: exactly when s divides k, in the mean over positions otherwise. A
transposed convolution is the same map read backwards. Dilation moves the taps and does not change their
number.
"""

import math
from typing import Any

from evenflow.theory.fan_pair import Fans


def convolution_fans(layer: Any) -> dict[str, Fans]:
    """Fan-in is in * k / groups, fan-out is out * k / (groups * stride)."""
    taps = math.prod(layer.kernel_size) / layer.groups
    return {"weight": Fans(layer.in_channels * taps, layer.out_channels * taps / math.prod(layer.stride))}


def transposed_convolution_fans(layer: Any) -> dict[str, Fans]:
    """Fan-in is in * k / (groups * stride), fan-out is out * k / groups."""
    taps = math.prod(layer.kernel_size) / layer.groups
    return {"weight": Fans(layer.in_channels * taps / math.prod(layer.stride), layer.out_channels * taps)}
