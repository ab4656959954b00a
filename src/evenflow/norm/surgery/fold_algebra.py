r"""What a linear layer and a constant BatchNorm beside it are together.

With $s = \gamma / \sqrt{\sigma^2 + \epsilon}$ and $t = \beta - \mu s$ a BatchNorm by running statistics is
$x \mapsto s x + t$, a channel at a time. Behind a layer $W x + b$ it scales the rows of $W$; before it, the columns:

$$
s (W x + b) + t = (s W) x + (s b + t), \qquad W (s x + t) + b = (W s) x + (W t + b)
$$
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd


def scale_and_shift(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """$s$ and $t$ of each channel, in float64."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach().double()


def folded(norm: _BatchNorm, layer: nn.Module, *, behind: bool) -> tuple[Tensor, Tensor]:
    """Weight and bias of the layer that both are together, in float64.

    Args:
        norm: A BatchNorm by running statistics.
        layer: Linear, a convolution or a transposed one, with groups or without.
        behind: Whether the BatchNorm stands behind the layer.
    """
    scale, shift = scale_and_shift(norm)
    held: Tensor = layer.weight.detach().double()  # type: ignore[operator]  # a linear layer has one
    matrix = _by_group(held, layer)
    bias = _bias(layer, matrix)
    groups = matrix.shape[0]
    if behind:
        matrix = matrix * scale.reshape(groups, -1, 1, 1)
        bias = bias * scale + shift
    else:
        bias = bias + (matrix.sum(3) @ shift.reshape(groups, -1, 1)).reshape(-1)
        matrix = matrix * scale.reshape(groups, 1, -1, 1)
    return _back(matrix, held, layer), bias


def _by_group(weight: Tensor, layer: nn.Module) -> Tensor:
    """Lay a weight out as (group, output in it, input in it, place in the kernel)."""
    groups: int = layer.groups if isinstance(layer, _ConvNd) else 1
    if isinstance(layer, _ConvTransposeNd):  # (in, out / groups, *kernel)
        return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1).transpose(1, 2)
    return weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)


def _back(matrix: Tensor, weight: Tensor, layer: nn.Module) -> Tensor:
    return (matrix.transpose(1, 2) if isinstance(layer, _ConvTransposeNd) else matrix).reshape(weight.shape)


def _bias(layer: nn.Module, matrix: Tensor) -> Tensor:
    held = layer.bias
    if isinstance(held, Tensor):
        return held.detach().double()
    return torch.zeros(matrix.shape[0] * matrix.shape[1], dtype=torch.float64, device=matrix.device)


def why_not_behind(norm: _BatchNorm, layer: nn.Module) -> str | None:
    """Why a layer that follows a BatchNorm does not see the same shift everywhere; None if it does.

    Zeros that a convolution pads its input with are not shifted; padding that repeats the input is.
    """
    if not isinstance(layer, _ConvNd) or not bool(scale_and_shift(norm)[1].any()):
        return None
    kind = type(layer).__name__
    if isinstance(layer, _ConvTransposeNd):
        one = all(size == 1 for size in (*layer.kernel_size, *layer.stride))
        if one and not any((*layer.padding, *layer.output_padding)):
            return None
        return f"the {kind} behind it reads zeros between and around its input, which are not shifted"
    if layer.padding_mode != "zeros" or layer.padding == "valid":
        return None
    padded = any(layer.padding) if not isinstance(layer.padding, str) else any(k > 1 for k in layer.kernel_size)
    return f"the {kind} behind it pads its input with zeros, which are not shifted" if padded else None
