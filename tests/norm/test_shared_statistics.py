"""Statistics apart from normalisation: their values, their merging, and the gradients through them."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from evenflow.norm.moments import BatchMoments
from evenflow.norm.standardize import standardize
from evenflow.norm.statistics import Statistics, less_mean, merge, statistics_of

SHAPES = [(7, 3), (4, 3, 5), (4, 3, 5, 2), (2, 3, 2, 3, 2)]


def normal(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def normalised(x, weight=None, bias=None, mask=None):
    return standardize(x, statistics_of(x, mask), weight, bias, 1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("dtype", "mean", "tolerance"),
    [
        (torch.float64, 0, 1e-13),
        (torch.float64, 1e6, 1e-9),
        (torch.float32, 0, 1e-5),
        (torch.float32, 1e6, 1e-5),
        (torch.float16, 3, 5e-3),
        (torch.bfloat16, 3, 4e-2),
    ],
)
def test_outputs_and_gradients_are_those_of_torch_in_float64(shape, dtype, mean, tolerance):
    x = (normal(*shape) + mean).to(dtype)
    weight, bias, dy = normal(3, seed=1), normal(3, seed=2), normal(*shape, seed=3).to(dtype)

    def run(function, data):
        inputs = [data.clone().requires_grad_(), weight.clone().requires_grad_(), bias.clone().requires_grad_()]
        y = function(*inputs)
        return [y, *torch.autograd.grad(y, inputs, dy.to(y.dtype))]

    ours = run(normalised, x)
    exact = run(lambda data, w, b: F.batch_norm(data, None, None, w, b, True), x.double())
    assert ours[0].dtype == ours[1].dtype == dtype
    for mine, wanted in zip(ours, exact, strict=True):
        torch.testing.assert_close(mine.double(), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("masked", [False, True])
def test_first_and_second_derivatives_agree_with_finite_differences(masked):
    mask = normal(4, 1, 3, seed=4) > -0.5 if masked else None

    def function(x, weight, bias):
        y = normalised(x, weight, bias, mask)
        return y if mask is None else torch.where(mask, y, 0)

    inputs = [t.requires_grad_() for t in (normal(4, 2, 3), normal(2, seed=1), normal(2, seed=2))]
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


def test_second_derivatives_through_merged_statistics():
    def function(one, other):
        shared = merge([statistics_of(one), statistics_of(other)])
        return standardize(one, shared, None, None, 1e-5), standardize(other, shared, None, None, 1e-5)

    inputs = normal(4, 2, 3).requires_grad_(), normal(2, 2, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=5).filter(lambda sizes: sum(sizes) > 1),
    mean=st.sampled_from([0.0, -40.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_merged_statistics_are_those_of_all_values(sizes, mean, seed):
    parts = [normal(size, 3, 2, seed=seed + size) + mean for size in sizes]
    merged, whole = merge([statistics_of(part) for part in parts]), statistics_of(torch.cat(parts))
    assert merged.count == whole.count == 2 * sum(sizes)
    torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(merged.variance, whole.variance, rtol=1e-8, atol=1e-14)


@given(sizes=st.tuples(st.integers(2, 6), st.integers(2, 6)), mean=st.sampled_from([0.0, 1e6]), seed=st.integers(0, 99))
def test_merged_moments_are_those_of_all_values(sizes, mean, seed):
    parts = [normal(size, 3, seed=seed + size) + mean for size in sizes]
    one, other = (BatchMoments(p.mean(0), p.var(0, correction=1), len(p)) for p in parts)
    merged, whole = one.merged(other), torch.cat(parts)
    assert merged.count == merged.size == len(whole)
    torch.testing.assert_close(merged.mean, whole.mean(0))
    torch.testing.assert_close(merged.variance, whole.var(0, correction=1))
    torch.testing.assert_close(merged.biased(), whole.var(0, correction=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_statistics_are_right_far_from_zero(dtype):
    x = normal(4096, 3, dtype=dtype) + 1e6
    statistics = statistics_of(x)
    torch.testing.assert_close(statistics.mean, x.double().mean(0), rtol=1e-12, atol=0)
    torch.testing.assert_close(statistics.variance, x.double().var(0, correction=0), rtol=1e-6, atol=0)
    assert less_mean(x, statistics.mean).dtype == dtype


@pytest.mark.parametrize("value", [0.0, 12345.678, -1e-30])
def test_a_constant_channel_has_no_variance_below_zero(value):
    variance = statistics_of(torch.full((64, 2), value)).variance
    assert (variance >= 0).all()
    assert (variance <= 1e-12 * value * value).all()


def test_an_empty_batch_has_statistics_of_zero_and_passes_gradients():
    x = torch.zeros(0, 3, 4, requires_grad=True)
    statistics = statistics_of(x)
    assert statistics.count == 0
    assert not statistics.mean.any()
    assert not statistics.variance.any()
    normalised(x).sum().backward()
    assert x.grad.shape == x.shape


def test_what_is_masked_has_no_influence():
    x, mask = normal(4, 3, 5), normal(4, 1, 5, seed=1) > 0
    spoiled = torch.where(mask, x, torch.nan)
    for mine, wanted in zip(
        (statistics_of(spoiled, mask).mean, statistics_of(spoiled, mask).variance),
        (statistics_of(x, mask).mean, statistics_of(x, mask).variance),
        strict=True,
    ):
        assert torch.equal(mine, wanted)


def test_backward_keeps_one_tensor_of_the_size_of_the_batch():
    x = normal(64, 3, 5).requires_grad_()
    kept = {}

    def keep(tensor):
        if tensor.numel() >= x.numel():
            kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        normalised(x)
    assert kept == {x.data_ptr(): x.numel()}


def test_channels_last_stays_channels_last():
    x = normal(4, 3, 5, 6).contiguous(memory_format=torch.channels_last)
    assert normalised(x).is_contiguous(memory_format=torch.channels_last)


def test_vmap_gives_what_a_loop_gives():
    xs = normal(3, 8, 4, 5)
    torch.testing.assert_close(torch.func.vmap(normalised)(xs), torch.stack([normalised(x) for x in xs]))


def test_moments_are_unbiased_and_without_a_graph():
    x = normal(5, 3).requires_grad_()
    moments = statistics_of(x).moments(torch.float32, 5)
    assert not moments.mean.requires_grad
    assert moments.variance.dtype == torch.float32
    torch.testing.assert_close(moments.variance.double(), x.detach().var(0, correction=1), rtol=1e-6, atol=0)


def test_statistics_may_come_from_elsewhere():
    given_statistics = Statistics(torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0]), torch.tensor(7.0))
    y = standardize(torch.tensor([[3.0, 5.0]]), given_statistics, None, None, 0.0, residual=torch.ones(1, 2))
    torch.testing.assert_close(y, torch.tensor([[2.0, 2.0]]))
