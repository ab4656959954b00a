"""Each family has the variance that its formula says, whatever the distribution, real or complex."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import evenflow as ef
from evenflow.errors import ParameterTypeError, ParameterValueError, TensorShapeError
from evenflow.random import Stream
from evenflow.theory import Fans

OUT, IN = 400, 900
N = OUT * IN
CONV = (64, 48, 3, 5)

FORMULAS = {
    "glorot_uniform_": lambda i, o: 2 / (i + o),
    "glorot_normal_": lambda i, o: 2 / (i + o),
    "xavier_uniform_": lambda i, o: 2 / (i + o),
    "xavier_normal_": lambda i, o: 2 / (i + o),
    "he_uniform_": lambda i, o: 2 / i,
    "he_normal_": lambda i, o: 2 / i,
    "kaiming_uniform_": lambda i, o: 2 / i,
    "kaiming_normal_": lambda i, o: 2 / i,
    "lecun_uniform_": lambda i, o: 1 / i,
    "lecun_normal_": lambda i, o: 1 / i,
    "variance_scaling_": lambda i, o: 1 / i,
}


def relative_variance(weight, expected):
    return (
        torch.view_as_real(weight).double().pow(2).sum(-1).mean().item() / expected
        if weight.is_complex()
        else (weight.double().pow(2).mean().item() / expected)
    )


def tolerance(count):
    """5 sigma of the mean of squares of normal draws, relative; uniform and truncated draws have less."""
    return 5 * math.sqrt(2 / count)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
@pytest.mark.parametrize("name", FORMULAS)
def test_the_variance_of_a_matrix(name, dtype):
    weight = getattr(ef.init, name)(torch.zeros(OUT, IN, dtype=dtype), stream=Stream(0, name))
    assert abs(relative_variance(weight, FORMULAS[name](IN, OUT)) - 1) < tolerance(N)
    parts = torch.view_as_real(weight).reshape(-1, 2).double() if weight.is_complex() else weight.double()
    # 5 sigma of the mean.
    assert abs(parts.mean().item()) < 5 * math.sqrt(FORMULAS[name](IN, OUT) / N)


@pytest.mark.parametrize("name", FORMULAS)
def test_the_fans_of_a_kernel_count_its_places(name):
    weight = getattr(ef.init, name)(torch.zeros(CONV), stream=Stream(1, name))
    expected = FORMULAS[name](48 * 15, 64 * 15)
    assert abs(relative_variance(weight, expected) - 1) < tolerance(weight.numel())


@pytest.mark.parametrize("name", FORMULAS)
def test_given_fans_replace_those_of_the_shape(name):
    weight = getattr(ef.init, name)(torch.zeros(N), stream=Stream(2, name), fans=Fans(7.0, 2.25))
    assert abs(relative_variance(weight, FORMULAS[name](7.0, 2.25)) - 1) < tolerance(N)


@pytest.mark.parametrize("name", [name for name in FORMULAS if "uniform" in name])
def test_the_bound_of_the_uniform_families(name):
    weight = getattr(ef.init, name)(torch.zeros(OUT, IN), stream=Stream(3, name))
    bound = math.sqrt(3 * FORMULAS[name](IN, OUT))
    assert weight.abs().max().item() <= bound * (1 + 1e-6)
    # The largest of n draws is within 20 / n of the bound but for odds of e^-20.
    assert weight.abs().max().item() > bound * (1 - 20 / N)


@pytest.mark.parametrize("name", [name for name in FORMULAS if "normal" in name])
def test_the_normal_families_are_normal(name):
    weight = getattr(ef.init, name)(torch.zeros(OUT, IN), stream=Stream(4, name))
    std = math.sqrt(FORMULAS[name](IN, OUT))
    # 2.7 / sqrt(n): once in a million.
    assert stats.kstest(weight.double().flatten().numpy() / std, "norm").statistic < 2.7 / math.sqrt(N)


def test_the_printed_formula_of_glorot_normal_has_three_times_the_variance():
    stream = Stream(0, "notes")
    ours = ef.init.glorot_normal_(torch.zeros(OUT, IN), stream=stream)
    printed = ef.init.random_normal_(torch.zeros(OUT, IN), std=math.sqrt(6 / (IN + OUT)), stream=stream)
    derived = 2 / (IN + OUT)
    assert abs(relative_variance(ours, derived) - 1) < tolerance(N)
    assert abs(relative_variance(printed, derived) - 3) < 3 * tolerance(N)


def test_the_defaults_of_the_plain_draws_are_the_unit_interval_and_the_standard_normal():
    uniform = ef.init.random_uniform_(torch.zeros(N), stream=Stream(0, "u")).double()
    assert 0 <= uniform.min() < 20 / N
    assert 1 - 20 / N < uniform.max() < 1
    # 5 sigma of the mean of a uniform variable.
    assert abs(uniform.mean().item() - 0.5) < 5 / math.sqrt(12 * N)
    normal = ef.init.random_normal_(torch.zeros(N), stream=Stream(0, "n")).double()
    assert abs(normal.mean().item()) < 5 / math.sqrt(N)
    assert abs(relative_variance(normal, 1) - 1) < tolerance(N)


def test_gain_and_slope():
    stream = Stream(0, "g")
    plain = ef.init.glorot_normal_(torch.zeros(9, 7), stream=stream)
    torch.testing.assert_close(ef.init.glorot_normal_(torch.zeros(9, 7), 3.0, stream=stream), 3 * plain)
    plain = ef.init.he_uniform_(torch.zeros(9, 7), stream=stream)
    leaky = ef.init.he_uniform_(torch.zeros(9, 7), 0.5, stream=stream)
    torch.testing.assert_close(leaky, plain / math.sqrt(1.25))
    kaiming = ef.init.kaiming_uniform_(torch.zeros(9, 7), 0.5, stream=stream)
    assert torch.equal(kaiming, leaky)
    assert torch.equal(ef.init.kaiming_uniform_(torch.zeros(9, 7), nonlinearity="relu", stream=stream), plain)


@pytest.mark.parametrize("name", ["xavier_uniform_", "xavier_normal_", "kaiming_uniform_", "kaiming_normal_"])
@pytest.mark.parametrize("shape", [(256, 128), (32, 16, 3, 3)])
def test_drop_ins_have_torchs_variance(name, shape):
    ours = getattr(ef.init, name)(torch.zeros(shape), stream=Stream(0, name)).double()
    theirs = getattr(torch.nn.init, name)(torch.zeros(shape), generator=torch.Generator().manual_seed(0)).double()
    # 5 sigma of the difference of two relative variances.
    assert abs(ours.var().item() / theirs.var().item() - 1) < tolerance(ours.numel()) * math.sqrt(2)


@pytest.mark.parametrize("distribution", ["normal", "truncated_normal", "uniform"])
@pytest.mark.parametrize(
    ("mode", "fan"),
    [("fan_in", IN), ("fan_out", OUT), ("fan_avg", (IN + OUT) / 2), ("fan_geo_avg", math.sqrt(IN * OUT))],
)
def test_variance_scaling_in_every_mode_and_distribution(mode, fan, distribution):
    weight = ef.init.variance_scaling_(torch.zeros(OUT, IN), 2.5, mode, distribution, stream=Stream(0, mode))
    assert abs(relative_variance(weight, 2.5 / fan) - 1) < tolerance(N)


def test_truncated_variance_scaling_is_cut_at_two_deviations():
    weight = ef.init.variance_scaling_(torch.zeros(OUT, IN), distribution="truncated_normal", stream=Stream(0, "cut"))
    untruncated = math.sqrt(1 / IN) / stats.truncnorm.std(-2, 2)
    scaled = weight.double().flatten().numpy() / untruncated
    assert np.abs(scaled).max() <= 2 + 1e-6
    assert stats.kstest(scaled, stats.truncnorm(-2, 2).cdf).statistic < 2.7 / math.sqrt(N)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_vector_has_no_fans_of_its_own(name):
    with pytest.raises(TensorShapeError, match="2 dimensions"):
        getattr(ef.init, name)(torch.zeros(5))


@pytest.mark.parametrize("name", FORMULAS)
def test_fans_are_a_pair_of_positive_numbers(name):
    with pytest.raises(ParameterTypeError, match="fans must be"):
        getattr(ef.init, name)(torch.zeros(5, 5), fans=5.0)
    for fan in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ParameterValueError, match="fan_out"):
            getattr(ef.init, name)(torch.zeros(5, 5), fans=Fans(5.0, fan))
