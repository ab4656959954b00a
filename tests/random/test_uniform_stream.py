import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenflow.random import Stream
from evenflow.random.uniform import uniform

F32 = np.float32
DRAWS = 10**6
BOUNDS = st.floats(-(2.0**100), 2.0**100, width=32)
ENDS = np.array([0, 255, 256, 2**31, 2**32 - 256, 2**32 - 1], dtype=np.uint32)


@pytest.fixture(scope="module")
def draws():
    return Stream(0, "uniform").uniform(DRAWS).astype(np.float64)


def test_the_distribution_is_uniform(draws):
    # Kolmogorov's statistic exceeds 2.7 / sqrt(n) once in a million.
    assert stats.kstest(draws, "uniform").statistic < 2.7 / np.sqrt(DRAWS)
    for power in range(1, 5):
        # 5 sigma of the mean of u^power.
        sigma = np.sqrt(1 / (2 * power + 1) - 1 / (power + 1) ** 2)
        assert abs((draws**power).mean() - 1 / (power + 1)) < 5 * sigma / np.sqrt(DRAWS)


def test_neighbours_are_not_correlated(draws):
    for lag in range(1, 9):
        # 5 sigma of a correlation of independent draws.
        assert abs(np.corrcoef(draws[lag:], draws[:-lag])[0, 1]) < 5 / np.sqrt(DRAWS)


def test_streams_of_different_names_and_seeds_are_not_correlated(draws):
    for other in (Stream(0, "uniforn"), Stream(1, "uniform"), Stream(-1, "uniform")):
        assert abs(np.corrcoef(draws, other.uniform(DRAWS))[0, 1]) < 5 / np.sqrt(DRAWS)


def test_the_bits_are_those_of_the_specification():
    words = Stream(5, "bits").words(0, 10_000)
    u = (words // 256) / 2**24
    for low, high in [(0.0, 1.0), (-0.3, 0.7), (-1e-3, 1e-3), (5.0, 6.0)]:
        # In float64 each operation is exact enough that rounding it to float32 is the float32 operation.
        width = (np.float64(F32(high)) - np.float64(F32(low))).astype(F32)
        product = (u * np.float64(width)).astype(F32)
        total = (product.astype(np.float64) + np.float64(F32(low))).astype(F32)
        expected = np.minimum(total, np.nextafter(F32(high), F32(low)))
        np.testing.assert_array_equal(Stream(5, "bits").uniform(10_000, low, high), expected)


@settings(deadline=None)
@given(BOUNDS, BOUNDS)
def test_high_is_never_reached(one, other):
    low, high = sorted((one, other))
    draws = uniform(ENDS, low, high)
    assert (draws >= F32(low)).all()
    assert (draws < F32(high)).all() or low == high


def test_rounding_up_to_high_is_taken_back():
    # Between 1 and the next float there is nothing, so that u * width + low rounds to one of the two.
    high = float(np.nextafter(F32(1), F32(2)))
    assert set(Stream(0, "a").uniform(1000, 1.0, high).tolist()) == {1.0}


@pytest.mark.parametrize("value", [0.0, -2.5, 0.1])
def test_equal_bounds_give_the_bound(value):
    assert set(Stream(0, "a").uniform(100, value, value).tolist()) == {float(F32(value))}
