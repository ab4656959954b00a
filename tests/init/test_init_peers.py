"""What other libraries get wrong in initialisation functions, one test for each defect."""

import math

import pytest
import torch
from scipy import stats
from torch import nn

import evenflow as ef
from evenflow.random import Stream

INF = math.inf


def initialised(model, seed=0):
    """Fill every parameter from the stream of its name."""
    for name, parameter in model.named_parameters():
        ef.init.normal_(parameter, stream=Stream(seed, name))
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_peer_torch_values_depend_on_module_order():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    forwards = initialised(nn.ModuleDict({"first": first, "second": second}))
    backwards = initialised(nn.ModuleDict({"second": second, "first": first}))
    assert list(forwards) != list(backwards)
    for name, value in forwards.items():
        assert torch.equal(backwards[name], value)


def test_peer_torch_removing_a_bias_changes_the_next_layers_weights():
    with_bias = initialised(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)))
    without = initialised(nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4)))
    assert "0.bias" not in without
    for name, value in without.items():
        assert torch.equal(with_bias[name], value)


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "kaiming_normal_", "orthogonal_"])
def test_peer_torch_a_transposed_view_gets_other_logical_values(name):
    plain, under = torch.zeros(5, 3), torch.zeros(3, 5)
    torch.manual_seed(0)
    getattr(ef.init, name)(plain)
    torch.manual_seed(0)
    getattr(ef.init, name)(under.t())
    assert torch.equal(under.t(), plain)


@pytest.mark.parametrize("name", ["uniform_", "normal_", "trunc_normal_", "xavier_uniform_", "kaiming_normal_"])
def test_peer_torch_float64_and_float32_draws_differ(name):
    torch.manual_seed(0)
    single = getattr(ef.init, name)(torch.zeros(50, 3))
    torch.manual_seed(0)
    double = getattr(ef.init, name)(torch.zeros(50, 3, dtype=torch.float64))
    assert torch.equal(double, single.double())


def test_peer_torch_shards_under_one_seed_are_copies_of_each_other():
    stream = Stream(0, "weight")
    whole = ef.init.normal_(torch.zeros(8, 6), stream=stream)
    for ranks in (1, 2, 4, 8):
        rows = 8 // ranks
        shards = [torch.from_numpy(stream.normal((rows, 6), start=rank * rows * 6)) for rank in range(ranks)]
        assert torch.equal(torch.cat(shards), whole)


@pytest.mark.parametrize("name", ["gelu", "silu", "mish", "elu", "softplus", "hardswish"])
def test_peer_torch_calculate_gain_does_not_know_modern_activations(name):
    z = torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    second_moment = torch.trapezoid(getattr(nn.functional, name)(z).square() * density, z).item()
    assert math.isclose(ef.init.calculate_gain(name), 1 / math.sqrt(second_moment), rel_tol=1e-6)


def test_peer_torch_trunc_normal_with_mean_nan_returns_uniform_numbers():
    weight = torch.zeros(3)
    with pytest.raises(ValueError, match="mean must be a finite number"):
        ef.init.trunc_normal_(weight, mean=math.nan)
    assert not weight.any()


@pytest.mark.parametrize(("mean", "expected"), [(0.5, 0.5), (-3.0, -2.0), (7.0, 2.0)])
def test_peer_torch_trunc_normal_with_std_zero_divides_by_zero(mean, expected):
    assert ef.init.trunc_normal_(torch.zeros(3), mean, 0.0).tolist() == [expected] * 3


def test_peer_torch_trunc_normal_on_a_half_line_crashes():
    weight = ef.init.trunc_normal_(torch.zeros(20_000), a=1.0, b=INF, stream=Stream(0, "w")).double()
    # 2.7 / sqrt(n): once in a million.
    assert stats.kstest(weight, stats.truncnorm(1, INF).cdf).statistic < 2.7 / math.sqrt(20_000)


def test_peer_torch_trunc_normal_far_in_the_tail_takes_seconds():
    # One draw for each element, however improbable the interval: the result says so, without a clock.
    stream = Stream(0, "w")
    weight = ef.init.trunc_normal_(torch.zeros(10_000), a=4.0, b=400.0, stream=stream)
    assert torch.equal(weight[5000:], torch.from_numpy(stream.truncated_normal(5000, low=4, high=400, start=5000)))
    assert 4 <= weight.min() < 4.001
    # The mean beyond 4 is the hazard there, and its standard deviation close to 1 / 4; 5 sigma.
    hazard = stats.norm.pdf(4) / stats.norm.sf(4)
    assert abs(weight.double().mean().item() - hazard) < 5 * 0.25 / math.sqrt(10_000)


@pytest.mark.parametrize("std", [1.0, 0.02])
def test_peer_timm_trunc_normal_in_bfloat16_gives_values_at_100_sigma(std):
    weight = ef.init.trunc_normal_(torch.zeros(10**6, dtype=torch.bfloat16), 0.0, std, -2 * std, 2 * std)
    assert weight.double().abs().max().item() <= 2 * std


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.complex64, torch.complex128])
def test_peer_torch_orthogonal_raises_for_half_and_complex_types(dtype):
    weight = ef.init.orthogonal_(torch.zeros(12, 12, dtype=dtype))
    wide = weight.to(torch.complex128)
    tolerance = {2: 2e-2, 8: 1e-5, 16: 1e-12}[dtype.itemsize]
    torch.testing.assert_close(wide.mH @ wide, torch.eye(12, dtype=torch.complex128), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_"])
def test_peer_torch_xavier_uniform_gives_complex_weights_twice_the_variance(name):
    weight = getattr(ef.init, name)(torch.zeros(300, 500, dtype=torch.complex64), stream=Stream(0, name))
    parts = torch.view_as_real(weight).double()
    # 5 sigma of a relative variance of n normal draws, for each part alone.
    for part in parts.unbind(-1):
        assert abs(part.square().mean().item() * 400 / 0.5 - 1) < 5 * math.sqrt(2 / part.numel())


def test_peer_torch_sparse_ignores_the_generator_for_the_zero_pattern():
    def pattern(seed):
        return ef.init.sparse_(torch.zeros(50, 20), 0.5, generator=torch.Generator().manual_seed(seed)) == 0

    torch.manual_seed(0)
    first = pattern(1)
    torch.manual_seed(99)
    assert torch.equal(pattern(1), first)
    assert not torch.equal(pattern(2), first)


@pytest.mark.parametrize("name", ["random_normal_", "glorot_uniform_", "he_normal_", "lecun_normal_", "orthogonal_"])
def test_peer_keras_a_shared_unseeded_initializer_returns_the_same_values_at_every_call(name):
    initializer = getattr(ef.init, name)
    assert not torch.equal(initializer(torch.zeros(4, 4)), initializer(torch.zeros(4, 4)))


def test_peer_keras_depthwise_lecun_normal_has_one_64th_of_the_variance():
    layer = nn.Conv2d(64, 64, 3, groups=64, bias=False)
    ef.init.lecun_normal_(layer.weight, fans=ef.fans(layer), stream=Stream(0, "depthwise"))
    # 5 sigma of the relative variance of 576 draws.
    assert abs(layer.weight.double().square().mean().item() * 9 - 1) < 5 * math.sqrt(2 / 576)


def test_asked_for_seeds_of_single_modules():
    once, again = nn.Linear(3, 3), nn.Linear(3, 3)
    ef.init.he_normal_(once.weight, stream=Stream(7, "head.weight"))
    torch.randn(10)
    ef.init.he_normal_(again.weight, stream=Stream(7, "head.weight"))
    assert torch.equal(once.weight, again.weight)
