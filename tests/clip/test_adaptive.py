"""Adaptive clipping beside the formulas of its peers, written here in their own terms."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from evenflow.clip import AdaptiveClipper, adaptive_clip_grad_
from evenflow.clip.memory import row_blocks
from evenflow.errors import NonFiniteError, ParameterTypeError, ParameterValueError, TensorDtypeError

EPS = 1e-3
OUTPUTS_FIRST = [
    nn.Linear(5, 7),
    nn.Conv2d(3, 4, 3),
    nn.Conv1d(4, 6, 3, groups=2),
    nn.Embedding(9, 4),
    nn.LSTM(3, 4),
    nn.MultiheadAttention(4, 2),
    nn.Bilinear(2, 3, 4),
    nn.LayerNorm(6),
]


def timm(weight, gradient, factor, order=2.0):
    """timm's way: the norm of all dimensions but the first, of a vector the whole; 1e-6 guards the division."""
    dims = tuple(range(1, weight.dim())) if weight.dim() > 1 else None
    limit = torch.linalg.vector_norm(weight, order, dims, keepdim=weight.dim() > 1).clamp(min=EPS) * factor
    norm = torch.linalg.vector_norm(gradient, order, dims, keepdim=weight.dim() > 1)
    clipped = gradient * (limit / norm.clamp(min=1e-6))
    return torch.where(norm < limit, gradient, clipped)


def optax(weight, gradient, factor):
    """optax's way, where outputs come last: the norm over all axes but the last, of a vector the whole."""

    def unitwise(x):
        if np.squeeze(x).ndim <= 1:
            return np.broadcast_to(np.sqrt(np.sum(x**2)), x.shape)
        axes = {2: 0, 3: 0, 4: (0, 1, 2)}[x.ndim]
        return np.broadcast_to(np.sqrt(np.sum(x**2, axis=axes, keepdims=True)), x.shape)

    limit = factor * np.maximum(unitwise(weight), EPS)
    norm = unitwise(gradient)
    trigger = norm < limit
    return np.where(trigger, gradient, gradient * (limit / np.maximum(norm, 1e-6)))


def with_gradients(model, size=1.0):
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = size * torch.randn(parameter.shape, generator=generator)
        # Some units within their limit, some beyond it.
        if parameter.dim() > 1:
            parameter.grad[::2] *= 1e-4
    return model


@pytest.mark.parametrize("order", [2.0, 1.0, math.inf])
@pytest.mark.parametrize("layer", OUTPUTS_FIRST, ids=lambda layer: type(layer).__name__)
def test_agrees_with_timms_formula_where_outputs_come_first(layer, order):
    with_gradients(layer)
    wanted = [timm(p.detach(), p.grad, 0.05, order) for p in layer.parameters()]
    adaptive_clip_grad_(layer, 0.05, EPS, order, exclude=None)
    for parameter, gradient in zip(layer.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("layer", [nn.Linear(5, 7), nn.Conv2d(3, 4, (3, 2))])
def test_agrees_with_optaxs_formula_where_outputs_come_last(layer):
    with_gradients(layer)
    order = {2: (1, 0), 4: (2, 3, 1, 0)}[layer.weight.dim()]
    wanted = optax(*(x.detach().permute(order).double().numpy() for x in (layer.weight, layer.weight.grad)), 0.05)
    bias = optax(layer.bias.detach().double().numpy(), layer.bias.grad.double().numpy(), 0.05)
    adaptive_clip_grad_(layer, 0.05, EPS, exclude=None)
    np.testing.assert_allclose(layer.weight.grad.permute(order).numpy(), wanted, rtol=1e-5)
    np.testing.assert_allclose(layer.bias.grad.numpy(), bias, rtol=1e-5)


@pytest.mark.parametrize("shape", [(600, 900), (64, 16, 24, 32)])
def test_large_weights_are_read_by_the_loop_with_the_same_result(shape):
    generator = torch.Generator().manual_seed(0)
    parameter = nn.Parameter(torch.randn(shape, generator=generator))
    parameter.grad = torch.randn(shape, generator=generator) * torch.logspace(-4, 2, shape[0]).view(
        -1, *[1] * (len(shape) - 1)
    )
    assert row_blocks(parameter) is not None
    wanted = timm(parameter.detach().double(), parameter.grad.double(), 0.05).float()
    adaptive_clip_grad_(parameter, 0.05)
    torch.testing.assert_close(parameter.grad, wanted, rtol=1e-6, atol=0)


def weights_of_units(layer, weight):
    """Which weights make each output: those that its gradient reaches."""
    outputs = layer(torch.ones(1, layer.in_channels, *[3] * (weight.dim() - 2)))
    channels = outputs.transpose(0, 1).flatten(1).sum(1)
    return [torch.autograd.grad(channel, weight, retain_graph=True)[0] != 0 for channel in channels]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("kind", [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_peer_timm_reduces_the_wrong_axis_for_transposed_convolutions(kind, groups):
    layer = with_gradients(kind(4, 8, 2, groups=groups))
    weight, gradient = layer.weight.detach(), layer.weight.grad.clone()
    adaptive_clip_grad_(layer, 0.05, EPS, exclude=None)
    clipped = 0
    for mask in weights_of_units(layer, layer.weight):
        limit = 0.05 * max(float(weight[mask].norm()), EPS)
        norm = float(gradient[mask].norm())
        clipped += norm > limit
        expected = gradient[mask] * min(1.0, limit / norm)
        torch.testing.assert_close(layer.weight.grad[mask], expected, rtol=1e-5, atol=1e-9)
    assert clipped
    wrong = timm(weight, gradient, 0.05)
    assert not torch.allclose(layer.weight.grad, wrong, rtol=1e-2)


def test_peer_timm_discards_the_norm():
    layer = with_gradients(nn.Linear(5, 7))
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in layer.parameters()))
    returned = adaptive_clip_grad_(layer.parameters(), 0.01)
    assert float(returned) == pytest.approx(norm)


entries = st.one_of(st.floats(-(2.0**100), 2.0**100, width=32), st.sampled_from([0.0, 1e-45, 3e38, -1e-30]))


@given(
    weights=st.lists(st.lists(entries, min_size=3, max_size=3), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    size=st.sampled_from([0.0, 1e-40, 1.0, 1e30]),
    factor=st.floats(1e-3, 10.0),
)
def test_no_unit_is_beyond_its_limit_and_every_direction_is_kept(weights, seed, size, factor):
    parameter = nn.Parameter(torch.tensor(weights))
    gradient = size * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    parameter.grad = gradient.clone()
    adaptive_clip_grad_(parameter, factor)
    limits = factor * parameter.detach().double().norm(dim=1).clamp(min=EPS)
    before, after = gradient.double().norm(dim=1), parameter.grad.double().norm(dim=1)
    torch.testing.assert_close(after, torch.minimum(before, limits), rtol=1e-5, atol=1e-37)
    scale = torch.where(before > limits, limits / before, 1.0)
    torch.testing.assert_close(parameter.grad.double(), gradient * scale[:, None], rtol=1e-5, atol=1e-37)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.hidden = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 5)


@pytest.mark.parametrize("exclude", ["output", ["head"], "head", ["head.weight", "head.bias"]])
def test_the_output_layer_is_left_out(exclude):
    model = with_gradients(Net())
    before = model.head.weight.grad.clone(), model.head.bias.grad.clone()
    adaptive_clip_grad_(model, 0.001, exclude=exclude)
    assert torch.equal(model.head.weight.grad, before[0])
    assert torch.equal(model.head.bias.grad, before[1])
    assert AdaptiveClipper(model, exclude=exclude).excluded == ("head.weight", "head.bias")


def test_nothing_is_left_out_where_there_is_no_other_layer_or_no_model():
    assert AdaptiveClipper(nn.Linear(3, 2)).excluded == ()
    assert AdaptiveClipper(Net().parameters()).excluded == ()
    assert AdaptiveClipper(Net(), exclude=None).excluded == ()


def test_a_model_that_tells_its_output_layer_is_believed():
    model = Net()
    model.head.weight = model.embedding.weight
    model.get_output_embeddings = lambda: model.head
    assert AdaptiveClipper(model).excluded == ("embedding.weight", "head.bias")


def test_the_linear_layer_of_transformers_has_its_outputs_last():
    from transformers.pytorch_utils import Conv1D

    layer = with_gradients(Conv1D(3, 4))
    wanted = timm(layer.weight.detach().t(), layer.weight.grad.t(), 0.05).t()
    adaptive_clip_grad_(layer, 0.05, exclude=None)
    torch.testing.assert_close(layer.weight.grad, wanted, rtol=1e-5, atol=1e-9)


def test_a_parametrised_weight_has_rows_too():
    layer = with_gradients(weight_norm(nn.Linear(3, 4)))
    wanted = {name: timm(p.detach(), p.grad, 0.05) for name, p in layer.named_parameters()}
    adaptive_clip_grad_(layer, 0.05, exclude=None)
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=1e-5, atol=1e-9)


def test_sparse_rows_are_compared_with_their_own_rows_of_the_weight():
    dense, sparse = nn.Embedding(6, 3), nn.Embedding(6, 3, sparse=True)
    sparse.load_state_dict(dense.state_dict())
    for layer in (dense, sparse):
        (layer(torch.tensor([1, 1, 4])) * 3).square().sum().backward()
        adaptive_clip_grad_(layer, 0.05, exclude=None)
    torch.testing.assert_close(sparse.weight.grad.to_dense(), dense.weight.grad)


def test_other_sparse_gradients_are_refused_before_anything_changes():
    model = with_gradients(nn.Linear(3, 4))
    model.weight.grad = model.weight.grad.to_sparse()
    before = model.bias.grad.clone()
    with pytest.raises(TensorDtypeError, match="'weight'"):
        adaptive_clip_grad_(model, 1e-6, exclude=None)
    assert torch.equal(model.bias.grad, before)
    adaptive_clip_grad_(model, 1e-6, exclude=["weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_every_dtype_is_clipped(dtype):
    parameter = nn.Parameter(torch.ones(3, 4, dtype=dtype))
    parameter.grad = torch.full((3, 4), 5.0, dtype=dtype)
    adaptive_clip_grad_(parameter, 0.1)
    torch.testing.assert_close(parameter.grad, torch.full((3, 4), 0.1, dtype=dtype), rtol=1e-2, atol=0)


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_float64_beyond_the_range_of_its_squares(size):
    parameter = nn.Parameter(torch.full((2, 4), size, dtype=torch.float64))
    parameter.grad = torch.full((2, 4), size * 1e3, dtype=torch.float64)
    adaptive_clip_grad_(parameter, 0.5, eps=1e-320)
    torch.testing.assert_close(parameter.grad, torch.full((2, 4), size / 2, dtype=torch.float64), rtol=1e-9, atol=0)


def test_units_within_their_limit_are_not_written_to():
    parameter = nn.Parameter(torch.ones(3, 4))
    parameter.grad = torch.full((3, 4), 1e-6)
    version = parameter.grad._version
    adaptive_clip_grad_(parameter)
    assert parameter.grad._version == version


@pytest.mark.parametrize("policy", ["leave", "zero", "skip", "raise", "propagate"])
def test_every_policy(policy):
    parameter = nn.Parameter(torch.ones(2, 2))
    parameter.grad = torch.tensor([[math.nan, 8.0], [8.0, 8.0]])
    if policy == "raise":
        with pytest.raises(NonFiniteError, match="'parameter 0'"):
            adaptive_clip_grad_(parameter, 0.5, nonfinite=policy)
        return
    adaptive_clip_grad_(parameter, 0.5, nonfinite=policy)
    expected = {
        "leave": [[math.nan, 8.0], [8.0, 8.0]],
        "zero": [[0.0, 0.5 * math.sqrt(2)], [0.5, 0.5]],
        "propagate": [[math.nan, 8.0], [0.5, 0.5]],
    }
    if policy == "skip":
        assert parameter.grad is None
    else:
        torch.testing.assert_close(parameter.grad, torch.tensor(expected[policy]), equal_nan=True)


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ((-0.1,), ParameterValueError, "clip_factor"),
        ((math.nan,), ParameterValueError, "clip_factor"),
        ((0.1, 0.0), ParameterValueError, "eps"),
        ((0.1, 1e-3, 0.0), ParameterValueError, "norm_type"),
        (("0.1",), ParameterTypeError, "clip_factor"),
    ],
)
def test_bad_settings_are_named(arguments, error, named):
    with pytest.raises(error, match=named):
        adaptive_clip_grad_(nn.Linear(2, 2), *arguments)


def test_the_report_counts_units():
    model = with_gradients(Net())
    clipper = AdaptiveClipper(model, 0.05)
    report = clipper.step()
    assert (
        report.parts == 5 + 4 + 1 + 2
    )  # rows of the embedding and of the hidden layer, its bias, the norm's two vectors
    assert 0 < report.clipped < report.parts
    assert report.measure > 0.05
