import numpy as np
import pytest
from scipy import stats

from evenflow.random import Stream
from evenflow.random.normal import normal

DRAWS = 10**6


@pytest.fixture(scope="module")
def draws():
    return Stream(0, "normal").normal(DRAWS).astype(np.float64)


def test_the_distribution_is_normal(draws):
    # Kolmogorov's statistic exceeds 2.7 / sqrt(n) once in a million.
    assert stats.kstest(draws, "norm").statistic < 2.7 / np.sqrt(DRAWS)


@pytest.mark.parametrize(("power", "moment", "variance"), [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)])
def test_moments_to_the_fourth(draws, power, moment, variance):
    # 5 sigma of the mean of z^power, whose variance is E z^(2 power) - moment^2.
    assert abs((draws**power).mean() - moment) < 5 * np.sqrt(variance / DRAWS)


def test_the_tails_are_there(draws):
    # Counts beyond 3, 4 and 4.5 deviations: 5 sigma of a Poisson count.
    for bound in (3, 4, 4.5):
        expected = DRAWS * 2 * stats.norm.sf(bound)
        assert abs((np.abs(draws) > bound).sum() - expected) < 5 * np.sqrt(expected)


def test_neither_draws_nor_their_sizes_are_correlated(draws):
    for series in (draws, draws**2):
        for lag in range(1, 9):
            # 5 sigma of a correlation of independent draws.
            assert abs(np.corrcoef(series[lag:], series[:-lag])[0, 1]) < 5 / np.sqrt(DRAWS)


def test_the_two_of_a_pair_point_everywhere_alike(draws):
    angles = np.arctan2(draws[1::2], draws[::2])
    assert stats.kstest(angles, "uniform", (-np.pi, 2 * np.pi)).statistic < 2.7 / np.sqrt(DRAWS / 2)


def test_the_words_are_used_as_specified():
    words = Stream(7, "bits").words(0, 40_000).astype(np.float64).reshape(-1, 2)
    radius = np.sqrt(-2 * np.log(words[:, 0] * 2.0**-32 + 2.0**-33))
    angle = 2 * np.pi * np.floor(words[:, 1] / 256) * 2.0**-24
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    # u_1 is rounded to float32, so -2 ln u_1 moves by up to 2^-24, and r by its root where r is near 0.
    np.testing.assert_allclose(Stream(7, "bits").normal(40_000), expected, rtol=0, atol=2.0**-12)
    away = np.repeat(radius > 0.1, 2)
    np.testing.assert_allclose(Stream(7, "bits").normal(40_000)[away], expected[away], rtol=0, atol=2e-6)


def test_the_extreme_words_give_finite_numbers():
    ends = np.array([0, 1, 2**31, 2**32 - 1], dtype=np.uint32)
    words = np.stack(np.meshgrid(ends, ends), axis=-1).reshape(-1)
    draws = normal(words, 0.0, 1.0)
    assert np.isfinite(draws).all()
    assert np.abs(draws).max() == np.float32(np.sqrt(66 * np.log(2)))


def test_mean_and_std_scale_the_standard_draws():
    standard = Stream(1, "a").normal(1000)
    scaled = Stream(1, "a").normal(1000, mean=3.0, std=0.1)
    np.testing.assert_array_equal(scaled, standard * np.float32(0.1) + np.float32(3.0))
    assert set(Stream(1, "a").normal(100, mean=0.5, std=0.0).tolist()) == {0.5}
