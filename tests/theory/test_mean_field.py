"""The critical line against published values and against direct simulation."""

import math

import numpy as np
import pytest

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.theory.mean_field import critical_point, statistics


def test_a_rectifier_passes_half():
    found = statistics("relu", 3.0)
    assert (found.second_moment, found.slope_moment) == (pytest.approx(1.5), pytest.approx(0.5))
    assert found.mean == pytest.approx(math.sqrt(3 / (2 * math.pi)))


@pytest.mark.parametrize("name", ["tanh", "gelu", "sigmoid", "elu", "softplus"])
@pytest.mark.parametrize("q", [0.01, 1.0, 4.0])
def test_the_moments_are_those_of_a_simulation(name, q):
    from evenflow.theory.activation_lookup import activation

    function = activation(name).function
    x = math.sqrt(q) * np.random.default_rng(0).standard_normal(400_000)
    found, values = statistics(name, q), function(x)
    slopes = (function(x + 1e-5) - function(x - 1e-5)) / 2e-5
    for expected, sample in ((found.mean, values), (found.second_moment, values**2), (found.slope_moment, slopes**2)):
        assert expected == pytest.approx(sample.mean(), abs=6 * sample.std() / math.sqrt(len(x)) + 1e-9)
    assert found.variance == pytest.approx(values.var(), rel=0.02)


def test_tanh_at_the_published_point():
    """Schoenholz et al. 2017, section 5: sigma_b^2 = 0.05 meets the critical line at sigma_w^2 = 1.76."""
    found = critical_point("tanh", 0.5698)
    assert found.weight_variance == pytest.approx(1.76, abs=0.01)
    assert found.bias_variance == pytest.approx(0.05, abs=0.001)


def test_a_function_with_much_of_a_mean_needs_centring():
    with pytest.raises(ParameterValueError, match="pass centred=True"):
        critical_point("sigmoid", 0.01)
    assert critical_point("sigmoid", 0.01, centred=True).mean == pytest.approx(0.5)


def test_what_has_no_slope_has_no_critical_point():
    with pytest.raises(ParameterValueError, match=r"q.*0"):
        critical_point("tanh", 0.0)
    with pytest.raises(ParameterTypeError):
        critical_point("tanh", "x")
