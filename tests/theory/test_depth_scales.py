"""Depth scales against published values and against wide networks."""

import math

import numpy as np
import pytest

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.theory.depth_scales import critical_weight_variance, fixed_point, hermite
from evenflow.theory.mean_field import critical_point, statistics

PUBLISHED = {1.0: 3.63, 1.3: 7.83, 1.5: 15.8, 1.7: 74.9, 1.9: 39.4, 2.5: 11.8, 4.0: 6.98}


@pytest.mark.parametrize(("weight_variance", "scale"), PUBLISHED.items())
def test_the_depth_scales_of_tanh_at_the_published_points(weight_variance, scale):
    """Schoenholz et al. 2017: tanh with biases of variance 0.05."""
    assert fixed_point("tanh", weight_variance, 0.05).depth_scale == pytest.approx(scale, rel=2e-3)


def test_the_critical_variance_of_tanh_at_the_published_point():
    assert critical_weight_variance("tanh", 0.05) == pytest.approx(1.761, abs=1e-3)


@pytest.mark.parametrize("weight_variance", [1.2, 3.0])
def test_the_critical_line_parts_order_from_chaos(weight_variance):
    found = fixed_point("tanh", weight_variance, 0.05)
    assert (found.chi > 1) == (found.correlation < 1) == (weight_variance > critical_weight_variance("tanh", 0.05))
    assert found.slope < 1


@pytest.mark.parametrize("name", ["tanh", "elu", "gelu"])
def test_the_squares_of_the_hermite_coefficients_add_up_to_the_second_moment(name):
    assert (hermite(name, 0.7) ** 2).sum() == pytest.approx(statistics(name, 0.7).second_moment, rel=1e-5)


def test_the_correlation_of_a_wide_network_settles_where_and_as_fast_as_predicted():
    found, random = fixed_point("tanh", 2.5, 0.05), np.random.default_rng(0)
    low, high = (found.correlation + by for by in (-0.1, 0.1))
    slopes = []
    for _ in range(40):
        z = random.standard_normal((3, 100_000))
        second = [math.sqrt(found.q) * (c * z[0] + math.sqrt(1 - c**2) * z[1]) for c in (low, high)]
        moments = [np.mean(np.tanh(math.sqrt(found.q) * z[0]) * np.tanh(u)) for u in second]
        slopes.append(2.5 * (moments[1] - moments[0]) / found.q / 0.2)
    assert np.mean(slopes) == pytest.approx(found.slope, abs=0.01)
    assert (2.5 * np.mean(moments) + 0.05) / found.q == pytest.approx(found.correlation, abs=0.01)


def test_the_depth_scale_has_no_end_at_the_critical_line():
    point = critical_point("tanh", 0.1)
    assert fixed_point("tanh", point.weight_variance, point.bias_variance).depth_scale > 1e5


@pytest.mark.parametrize(("weight", "bias"), [(0.0, 0.1), (-1.0, 0.1), (1.0, -0.1), (math.nan, 0.1), (0.5, 0.0)])
def test_variances_without_a_fixed_point_are_refused(weight, bias):
    with pytest.raises(ParameterValueError, match="variance"):
        fixed_point("tanh", weight, bias)


def test_a_signal_that_explodes_is_refused():
    with pytest.raises(ParameterValueError, match="explodes"):
        fixed_point("relu", 3.0, 0.1)


def test_a_variance_that_is_no_number_is_refused():
    with pytest.raises(ParameterTypeError, match="weight_variance"):
        fixed_point("tanh", "x", 0.1)
    with pytest.raises(ParameterValueError, match="no point"):
        critical_weight_variance("relu", 0.05)
