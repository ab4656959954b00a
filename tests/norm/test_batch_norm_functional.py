"""`batch_norm` against torch's, and against float64 where torch's loses digits."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evenflow.errors import (
    ParameterTypeError,
    ParameterValueError,
    TensorDtypeError,
    TensorShapeError,
    UnknownActivationError,
)
from evenflow.norm import batch_norm
from evenflow.norm.normalize import TOLERANCE

FLOAT32_ROUNDING = 4e-6  # a handful of roundings of values up to about 5
WELL_CONDITIONED = 3.0


def in_float64(x: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor, Tensor]:
    """Output, mean and unbiased variance, by the definition."""
    over = [0, *range(2, x.dim())]
    exact = x.double()
    mean = exact.mean(over, keepdim=True)
    variance = (exact - mean).square().mean(over, keepdim=True)
    return (exact - mean) / torch.sqrt(variance + eps), mean.flatten(), exact.var(over, correction=1)


shapes = st.one_of(
    st.tuples(st.integers(2, 20), st.integers(1, 5)),
    st.tuples(st.integers(2, 6), st.integers(1, 5), st.integers(1, 9)),
    st.tuples(st.integers(2, 6), st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
    st.tuples(st.integers(2, 3), st.integers(1, 3), *[st.integers(1, 3)] * 3),
)


@settings(max_examples=120, deadline=None)
@given(
    shape=shapes,
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    layout=st.sampled_from(["contiguous", "channels_last", "transposed"]),
    affine=st.booleans(),
    training=st.booleans(),
    momentum=st.sampled_from([0.0, 0.1, 1.0]),
    seed=st.integers(0, 10**6),
)
def test_equals_torch_where_torch_is_right(*, shape, dtype, layout, affine, training, momentum, seed):
    generator = torch.Generator().manual_seed(seed)
    x = (WELL_CONDITIONED + torch.randn(shape, generator=generator)).to(dtype)
    if layout == "channels_last" and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        x = x.transpose(0, -1).contiguous().transpose(0, -1)
    statistics = torch.float64 if dtype == torch.float64 else torch.float32
    gamma, beta, mean = (torch.randn(shape[1], dtype=statistics, generator=generator) for _ in range(3))
    variance = torch.rand(shape[1], dtype=statistics, generator=generator) + 0.5
    dy = torch.randn(shape, generator=generator).to(dtype)

    def run(function) -> list[Tensor]:
        inputs = [x.clone().requires_grad_(), gamma.clone().requires_grad_(), beta.clone().requires_grad_()]
        running = [mean.clone(), variance.clone()]
        weights = inputs[1:] if affine else (None, None)
        y = function(inputs[0], *running, *weights, training=training, momentum=momentum)
        gradients = torch.autograd.grad(y, inputs if affine else inputs[:1], dy)
        return [y, *running, *gradients]

    tolerance = {torch.float64: 1e-10, torch.float32: 2e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}[dtype]
    for ours, torchs in zip(run(batch_norm), run(F.batch_norm), strict=True):
        torch.testing.assert_close(ours, torchs, rtol=tolerance, atol=tolerance)


def test_signature_is_torchs():
    def parts(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    ours = parts(batch_norm)
    assert ours[: len(parts(F.batch_norm))] == parts(F.batch_norm)
    assert [name for name, kind, _ in ours if kind == inspect.Parameter.KEYWORD_ONLY] == ["activation", "residual"]


@pytest.mark.parametrize("mean", [1e4, 1e5, 1e6])
@pytest.mark.parametrize("shape", [(4096, 8), (8, 8, 32, 32)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_peer_flax_cancellation_at_a_large_mean(mean, shape, channels_last):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2)) + mean
    if channels_last and len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    running_mean, running_var = torch.zeros(8), torch.ones(8)
    y = batch_norm(x, running_mean, running_var, training=True, momentum=1.0)
    expected, batch_mean, batch_variance = in_float64(x)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=FLOAT32_ROUNDING)
    torch.testing.assert_close(running_mean.double(), batch_mean, rtol=2e-7, atol=0)
    torch.testing.assert_close(running_var.double(), batch_variance, rtol=2e-6, atol=0)


def test_peer_torch_variance_of_many_rows_drifts():
    x = torch.randn(1_200_000, 2, generator=torch.Generator().manual_seed(3))
    running_mean, running_var = torch.zeros(2), torch.ones(2)
    batch_norm(x, running_mean, running_var, training=True, momentum=1.0)
    torch.testing.assert_close(running_var.double(), in_float64(x)[2], rtol=1e-6, atol=0)


@pytest.mark.parametrize("offset", [0.0, 10.0, 50.0, 85.0, 95.0, 300.0])
def test_error_stays_under_the_tolerance_on_both_sides_of_the_switch(offset):
    x = torch.randn(8192, 16, generator=torch.Generator().manual_seed(4)) + offset
    error = batch_norm(x, None, None, training=True).double() - in_float64(x)[0]
    assert error.abs().max().item() <= 2 * TOLERANCE


def test_gradient_is_right_at_a_large_mean():
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(512, 4, generator=generator) + 1e6
    dy = torch.randn(512, 4, generator=generator)

    def gradient(function, data: Tensor) -> Tensor:
        data = data.clone().requires_grad_()
        return torch.autograd.grad(function(data, None, None, training=True), data, dy.to(data.dtype))[0]

    torch.testing.assert_close(
        gradient(batch_norm, x).double(), gradient(F.batch_norm, x.double()), rtol=0, atol=FLOAT32_ROUNDING
    )


def test_inference_is_right_at_a_large_mean():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(6)) + 1e6
    mean, variance = x.mean(0), torch.ones(4)
    expected = (x.double() - mean.double()) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(batch_norm(x, mean, variance).double(), expected, rtol=0, atol=FLOAT32_ROUNDING)


def test_half_input_far_from_zero_is_normalised_in_float32():
    x = (torch.randint(0, 8, (4096, 3), generator=torch.Generator().manual_seed(7)) + 1000).half()
    y = batch_norm(x, None, None, training=True)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.double(), in_float64(x)[0], rtol=2**-10, atol=2**-10)


def test_a_constant_channel_gives_zero():
    y = batch_norm(torch.full((64, 2), 12345.678), None, None, training=True)
    assert y.eq(0).all()


def test_half_buffers_are_updated_in_float32_and_keep_their_dtype():
    x = torch.randn(16, 2, generator=torch.Generator().manual_seed(8)) + 5
    narrow = [torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)]
    wide = [buffer.float() for buffer in narrow]
    batch_norm(x, *narrow, training=True)
    batch_norm(x, *wide, training=True)
    for half, full in zip(narrow, wide, strict=True):
        assert half.dtype == torch.bfloat16
        assert torch.equal(half, full.bfloat16())


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1, 1)])
def test_peer_torch_one_value_per_channel_gives_running_var_nan(shape):
    running_mean, running_var = torch.zeros(3), torch.ones(3)
    with pytest.raises(TensorShapeError, match="more than one value per channel"):
        batch_norm(torch.randn(shape), running_mean, running_var, training=True)
    assert torch.equal(running_mean, torch.zeros(3))
    assert torch.equal(running_var, torch.ones(3))


@pytest.mark.parametrize("momentum", [-3, -0.1, 1.5, float("nan"), float("inf")])
def test_peer_torch_momentum_out_of_range_is_accepted(momentum):
    running_mean = torch.zeros(3)
    with pytest.raises(ParameterValueError, match="momentum"):
        batch_norm(torch.randn(4, 3), running_mean, torch.ones(3), training=True, momentum=momentum)
    assert torch.equal(running_mean, torch.zeros(3))


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 4, 4), (2, 3, 0)])
@pytest.mark.parametrize("training", [True, False])
def test_an_empty_batch_gives_an_empty_output_and_leaves_the_statistics(shape, training):
    x = torch.zeros(shape, requires_grad=True)
    running_mean, running_var = torch.full((3,), 2.0), torch.full((3,), 3.0)
    y = batch_norm(x, running_mean, running_var, training=training)
    y.sum().backward()
    assert y.shape == shape
    assert torch.equal(running_mean, torch.full((3,), 2.0))
    assert torch.equal(running_var, torch.full((3,), 3.0))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"input": torch.ones(4, 3, dtype=torch.int64)}, TensorDtypeError),
        ({"input": torch.ones(4, 3, dtype=torch.complex64)}, TensorDtypeError),
        ({"input": torch.tensor(1.0)}, TensorShapeError),
        ({"input": torch.ones(4)}, TensorShapeError),
        ({"input": torch.ones(4, 0)}, TensorShapeError),
        ({"input": torch.ones(4, 2)}, TensorShapeError),
        ({"weight": torch.ones(2)}, TensorShapeError),
        ({"bias": torch.ones(3, dtype=torch.int64)}, TensorDtypeError),
        ({"running_mean": None}, ParameterTypeError),
        ({"running_mean": None, "running_var": None, "training": False}, ParameterTypeError),
        ({"eps": 0.0}, ParameterValueError),
        ({"eps": float("nan")}, ParameterValueError),
        ({"momentum": "0.1"}, ParameterTypeError),
    ],
)
def test_bad_arguments_are_named_and_change_nothing(arguments, error):
    running_mean, running_var = torch.zeros(3), torch.ones(3)
    given_arguments = {
        "input": torch.randn(4, 3), "running_mean": running_mean, "running_var": running_var, "training": True
    } | arguments  # fmt: skip
    with pytest.raises(error):
        batch_norm(**given_arguments)
    assert torch.equal(running_mean, torch.zeros(3))
    assert torch.equal(running_var, torch.ones(3))


def test_second_derivatives_agree_with_finite_differences():
    x = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(9)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda data: batch_norm(data, None, None, training=True), x)


def test_vmap_gives_what_a_loop_gives():
    xs = torch.randn(3, 8, 4, 5, 5, generator=torch.Generator().manual_seed(10))
    together = torch.func.vmap(lambda x: batch_norm(x, None, None, training=True))(xs)
    one_by_one = torch.stack([batch_norm(x, None, None, training=True) for x in xs])
    torch.testing.assert_close(together, one_by_one)


@pytest.mark.parametrize("training", [True, False])
def test_activation_and_residual_in_one_call(training):
    x, residual = torch.randn(2, 8, 3, 5, dtype=torch.float64)
    mean, variance = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    fused = batch_norm(x, mean.clone(), variance.clone(), training=training, activation="silu", residual=residual)
    apart = F.silu(batch_norm(x, mean.clone(), variance.clone(), training=training) + residual)
    torch.testing.assert_close(fused, apart)


def test_a_residual_of_another_shape_is_refused():
    with pytest.raises(TensorShapeError, match=r"residual must have the shape of input, \(8, 3\); got \(8, 1\)"):
        batch_norm(torch.randn(8, 3), None, None, training=True, residual=torch.randn(8, 1))


def test_an_unknown_activation_is_refused():
    with pytest.raises(UnknownActivationError, match="mish"):
        batch_norm(torch.randn(8, 3), None, None, training=True, activation="mish")
