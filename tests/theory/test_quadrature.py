import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.theory.quadrature import sample


def tail(edge):
    return math.erfc(edge / math.sqrt(2)) / 2


def double_factorial(number):
    return math.prod(range(number, 0, -2))


@pytest.mark.parametrize("power", range(0, 24, 2))
def test_moments_of_the_normal_distribution(power):
    sampled = sample(lambda z: z ** (power // 2))
    assert sampled.expect(sampled.values**2) == pytest.approx(double_factorial(power - 1), rel=1e-13)


def test_a_hundred_hermite_nodes_are_wrong_in_the_third_digit_for_relu():
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    by_hermite = float(weights @ np.maximum(nodes, 0)) / math.sqrt(2 * math.pi)
    sampled = sample(lambda z: np.maximum(z, 0))
    exact = 1 / math.sqrt(2 * math.pi)
    assert abs(by_hermite / exact - 1) > 1e-3
    assert sampled.expect(sampled.values) == pytest.approx(exact, rel=1e-14)


@settings(deadline=None)
@given(st.floats(-3, 3))
def test_a_jump_is_found_wherever_it_is(edge):
    sampled = sample(lambda z: (z > edge).astype(float))
    assert sampled.expect(sampled.values) == pytest.approx(tail(edge), rel=1e-11)
    assert sampled.expect(sampled.derivative() ** 2) == 0


@settings(deadline=None)
@given(st.floats(-3, 3))
def test_a_kink_is_found_wherever_it_is(edge):
    sampled = sample(lambda z: np.maximum(z - edge, 0))
    density = math.exp(-(edge**2) / 2) / math.sqrt(2 * math.pi)
    assert sampled.expect(sampled.values) == pytest.approx(density - edge * tail(edge), rel=1e-10)
    assert sampled.expect(sampled.derivative() ** 2) == pytest.approx(tail(edge), rel=1e-10)


@pytest.mark.parametrize("distance", [10.0**-power for power in range(1, 12)])
def test_a_jump_beside_the_end_of_a_panel_is_not_missed(distance):
    sampled = sample(lambda z: np.where(z > 1 + distance, 1e6, 0.0))
    assert sampled.expect(sampled.values) == pytest.approx(1e6 * tail(1 + distance), rel=1e-11)


@settings(deadline=None)
@given(st.floats(0.1, 3), st.floats(-3, 3))
def test_the_derivative_of_a_smooth_function(rate, shift):
    sampled = sample(lambda z: np.tanh(rate * z + shift))
    expected = rate / np.cosh(rate * sampled.points + shift) ** 2
    error = sampled.expect((sampled.derivative() - expected) ** 2)
    assert error < 1e-22


def test_a_smooth_function_takes_one_evaluation_of_forty_panels():
    calls = []

    def function(z):
        calls.append(z.size)
        return np.tanh(z / 4)

    assert sample(function).points.shape == (40, 24)
    assert set(calls) == {40 * 24}


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30), max_size=5))
def test_announced_kinks_change_nothing_for_a_smooth_function(kinks):
    sampled = sample(np.cos, tuple(kinks))
    assert sampled.expect(sampled.values) == pytest.approx(math.exp(-0.5), rel=1e-13)
