"""Algorithm 1 as written in the paper, against autograd, finite differences and torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx

from evenflow.norm import reference

SHAPES = [(5, 3), (4, 2, 7), (3, 2, 4, 5), (2, 3, 2, 3, 2)]


class ReferenceBatchNorm(torch.autograd.Function):
    """Hands the reference's own backward to gradcheck."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        y, ctx.cache = reference.forward(x, weight, bias)
        return y

    @staticmethod
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return reference.backward(dy, ctx.cache)


def random_arguments(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (shape, shape[1:2], shape[1:2])
    x, weight, bias = (torch.randn(s, dtype=torch.float64, generator=generator) for s in sizes)
    return (3 * x + 1).requires_grad_(), weight.requires_grad_(), bias.requires_grad_()


@pytest.mark.parametrize("shape", SHAPES)
def test_backward_agrees_with_finite_differences(shape):
    assert torch.autograd.gradcheck(ReferenceBatchNorm.apply, random_arguments(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_backward_agrees_with_autograd_through_the_forward(shape):
    arguments = random_arguments(shape)
    y, cache = reference.forward(*arguments)
    dy = torch.randn_like(y)
    expected = torch.autograd.grad(y, arguments, dy)
    for ours, autograds in zip(reference.backward(dy, cache), expected, strict=True):
        torch.testing.assert_close(ours, autograds)


@pytest.mark.parametrize("shape", SHAPES)
def test_forward_is_what_torch_computes(shape):
    x, weight, bias = random_arguments(shape)
    y, _ = reference.forward(x, weight, bias)
    torch.testing.assert_close(y, F.batch_norm(x, None, None, weight, bias, training=True))


def test_output_has_mean_beta_and_variance_gamma_squared():
    x, weight, bias = random_arguments((64, 3))
    y, _ = reference.forward(x, weight, bias, eps=1e-5)
    variance = x.var(0, correction=0)
    torch.testing.assert_close(y.mean(0), bias)
    torch.testing.assert_close(y.var(0, correction=0), weight**2 * variance / (variance + 1e-5))


def test_input_gradient_has_no_mean_and_no_component_along_the_normalised_input():
    arguments = random_arguments((64, 3))
    y, cache = reference.forward(*arguments, eps=0.0)
    dx, _, _ = reference.backward(torch.randn_like(y), cache)
    torch.testing.assert_close(dx.sum(0), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close((dx * cache.centred).sum(0), torch.zeros(3, dtype=torch.float64))


def test_scaling_the_weights_before_it_changes_no_output_and_divides_their_gradient():
    generator = torch.Generator().manual_seed(1)
    u, w, dy = (torch.randn(s, dtype=torch.float64, generator=generator) for s in ((32, 5), (5, 3), (32, 3)))
    ones, zeros = torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)

    def output_and_gradient(scale: float) -> tuple[Tensor, Tensor]:
        y, cache = reference.forward(u @ (scale * w), ones, zeros, eps=0.0)
        return y, u.T @ reference.backward(dy, cache)[0]

    y, gradient = output_and_gradient(1.0)
    scaled_y, scaled_gradient = output_and_gradient(8.0)
    torch.testing.assert_close(scaled_y, y)
    torch.testing.assert_close(scaled_gradient, gradient / 8)
