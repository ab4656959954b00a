"""Algorithm 1 of Ioffe & Szegedy (2015), the Batch Normalizing Transform, to be read beside the paper.

Nothing here is fast. The layers use torch's kernels; the tests hold those against this page.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from evenflow.norm.shapes import all_but_channel, beside


class Cache(NamedTuple):
    """What the backward pass needs from the forward pass."""

    centred: Float[Tensor, "batch channel *space"]
    inverse_std: Float[Tensor, "1 channel *ones"]
    weight: Float[Tensor, "1 channel *ones"]


def forward(
    x: Float[Tensor, "batch channel *space"],
    weight: Float[Tensor, " channel"],
    bias: Float[Tensor, " channel"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "batch channel *space"], Cache]:
    r"""Normalise each channel over the mini-batch, then scale and shift it.

    For one channel with its $m$ values $x_1 \dots x_m$ (over the batch and all positions), line by line:

    $$
    \mu = \tfrac1m \sum_i x_i, \qquad
    \sigma^2 = \tfrac1m \sum_i (x_i - \mu)^2, \qquad
    \hat x_i = \frac{x_i - \mu}{\sqrt{\sigma^2 + \epsilon}}, \qquad
    y_i = \gamma \hat x_i + \beta
    $$

    Args:
        x: The mini-batch.
        weight: $\gamma$, one a channel.
        bias: $\beta$, one a channel.
        eps: $\epsilon$, added to the variance.

    Returns:
        The output `y`, of the shape of `x`, and the cache for `backward`.

    Examples:
        >>> y, _ = forward(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0]), torch.tensor([5.0]), eps=0.0)
        >>> y.squeeze(1)
        tensor([3., 7.])

    References:
        Ioffe & Szegedy 2015, "Batch Normalization", Algorithm 1.
    """
    over_batch = all_but_channel(x)
    gamma, beta = beside(x, weight), beside(x, bias)

    mean = x.mean(over_batch, keepdim=True)
    centred = x - mean
    variance = centred.square().mean(over_batch, keepdim=True)
    inverse_std = 1 / torch.sqrt(variance + eps)
    normalized = centred * inverse_std
    y = gamma * normalized + beta

    return y, Cache(centred, inverse_std, gamma)


def backward(
    dy: Float[Tensor, "batch channel *space"], cache: Cache
) -> tuple[
    Float[Tensor, "batch channel *space"],
    Float[Tensor, " channel"],
    Float[Tensor, " channel"],
]:
    r"""Carry the gradient of the loss back through `forward`, one line of Algorithm 1 at a time.

    Write $g_i = \partial \ell / \partial y_i$ and $s = (\sigma^2 + \epsilon)^{-1/2}$, so $\hat x_i = (x_i -
    \mu)\,s$. From the last line of the algorithm to the first:

    1. $y_i = \gamma \hat x_i + \beta$ gives

       $$
       \frac{\partial \ell}{\partial \beta} = \sum_i g_i, \qquad
       \frac{\partial \ell}{\partial \gamma} = \sum_i g_i \hat x_i, \qquad
       \frac{\partial \ell}{\partial \hat x_i} = \gamma\, g_i .
       $$

    2. $\hat x_i = (x_i - \mu)\, s$ depends on the variance through $s$, and
       $\partial s / \partial \sigma^2 = -\tfrac12 (\sigma^2+\epsilon)^{-3/2} = -\tfrac12 s^3$:

       $$
       \frac{\partial \ell}{\partial \sigma^2}
         = -\tfrac12 s^3 \sum_i \frac{\partial \ell}{\partial \hat x_i}\,(x_i - \mu) .
       $$

    3. The mean enters $\hat x_i$ and $\sigma^2$. The second way contributes
       $\partial \sigma^2 / \partial \mu = -\tfrac2m \sum_i (x_i - \mu) = 0$, so

       $$
       \frac{\partial \ell}{\partial \mu} = -s \sum_i \frac{\partial \ell}{\partial \hat x_i} .
       $$

    4. $x_i$ enters $\hat x_i$, $\sigma^2$ (with $\tfrac2m (x_i - \mu)$) and $\mu$ (with $\tfrac1m$):

       $$
       \frac{\partial \ell}{\partial x_i}
         = \frac{\partial \ell}{\partial \hat x_i}\, s
         + \frac{\partial \ell}{\partial \sigma^2}\, \frac{2 (x_i - \mu)}{m}
         + \frac{\partial \ell}{\partial \mu}\, \frac1m .
       $$

    Put 2 and 3 into 4 and it reads $\tfrac{\gamma s}{m} \bigl( m\,g_i - \sum_j g_j - \hat x_i \sum_j g_j \hat
    x_j \bigr)$: the gradient loses its mean and its component along $\hat x$, the two directions the layer
    cannot pass on.

    Args:
        dy: Gradient of the loss with respect to the output.
        cache: What `forward` returned.

    Returns:
        The gradients with respect to `x`, `weight` and `bias`.

    Examples:
        >>> x = torch.tensor([[1.0], [3.0]])
        >>> _, cache = forward(x, torch.ones(1), torch.zeros(1), eps=0.0)
        >>> backward(torch.tensor([[1.0], [0.0]]), cache)[2]
        tensor([1.])

    References:
        Ioffe & Szegedy 2015, section 3, the six equations of backpropagation.
    """
    over_batch = all_but_channel(dy)
    centred, inverse_std, gamma = cache
    m = dy.numel() // dy.shape[1]

    d_bias = dy.sum(over_batch)
    d_weight = (dy * centred * inverse_std).sum(over_batch)
    d_normalized = dy * gamma

    d_variance = -0.5 * inverse_std**3 * (d_normalized * centred).sum(over_batch, keepdim=True)
    d_mean = -inverse_std * d_normalized.sum(over_batch, keepdim=True)
    dx = d_normalized * inverse_std + d_variance * 2 * centred / m + d_mean / m

    return dx, d_weight, d_bias
