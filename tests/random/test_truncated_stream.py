import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evenflow.random import Stream
from evenflow.random.inverse import inverse
from evenflow.random.truncated import truncated_normal

INF = np.inf
DRAWS = 100_000
INTERVALS = [
    (0.0, 1.0, -2.0, 2.0),
    (0.0, 1.0, -INF, INF),
    (0.0, 1.0, 1.0, INF),
    (0.0, 1.0, 0.0, INF),
    (0.0, 1.0, 0.3, 0.5),
    (0.0, 1.0, 4.0, 400.0),
    (0.0, 1.0, -400.0, -4.0),
    (0.0, 1.0, 40.0, 41.0),
    (0.0, 1.0, -INF, -30.0),
    (0.5, 0.02, -2.0, 2.0),
    (3.0, 2.0, -1.0, 2.5),
    (-1e8, 1.0, 0.0, INF),
    (-1.0, 1.0, 0.0, 1e-6),
    (0.0, 1.0, -1e-9, 1e-9),
]


def survival_ratio(mean, std, low, high):
    """Return the distribution function, from SciPy's logarithm of the normal tail."""

    def cdf(x):
        a, b, z = ((v - mean) / std for v in (low, high, x))
        return -np.expm1(stats.norm.logsf(z) - stats.norm.logsf(a)) / -np.expm1(
            stats.norm.logsf(b) - stats.norm.logsf(a)
        )

    return cdf


@pytest.mark.parametrize(("mean", "std", "low", "high"), INTERVALS)
def test_no_draw_is_outside(mean, std, low, high):
    draws = Stream(0, "t").truncated_normal(10_000, mean, std, low, high).astype(np.float64)
    assert (draws >= low).all()
    assert (draws <= high).all()
    assert len(np.unique(draws)) > 1000


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [row for row in INTERVALS if row[0] != -1e8 and row[3] - row[2] > 1e-3 and (row[2], row[3]) != (-400.0, -4.0)],
)
def test_the_distribution_is_scipys(mean, std, low, high):
    draws = Stream(1, "t").truncated_normal(DRAWS, mean, std, low, high).astype(np.float64)
    flip = -1.0 if high <= mean else 1.0
    ends = (low, high) if flip > 0 else (-high, -low)
    cdf = survival_ratio(flip * mean, std, *ends)
    # 2.7 / sqrt(n): once in a million.
    assert stats.kstest(flip * draws, cdf).statistic < 2.7 / np.sqrt(DRAWS)


def test_far_beyond_the_mean_the_tail_is_exponential():
    # Density exp(-x^2 / 2 - 1e8 x): x * 1e8 is exponential to 1e-16.
    draws = Stream(2, "t").truncated_normal(DRAWS, -1e8, 1.0, 0.0, INF)
    assert stats.kstest(draws.astype(np.float64) * 1e8, "expon").statistic < 2.7 / np.sqrt(DRAWS)


@pytest.mark.parametrize(
    ("mean", "low", "high"),
    [(-1.0, 0.0, 1e-6), (-1.0, 0.0, 1e-15), (0.5, -1e-17, 0.0), (0.0, 0.0, 1e-20), (0.0, -1e-9, 1e-9)],
)
def test_on_a_tiny_interval_the_density_is_flat(mean, low, high):
    draws = Stream(3, "t").truncated_normal(DRAWS, mean, 1.0, low, high).astype(np.float64)
    assert stats.kstest(draws, "uniform", (low, high - low)).statistic < 2.7 / np.sqrt(DRAWS)


@pytest.mark.parametrize("start", [1.0, 1.5, 4.0, 12.0, 35.0])
def test_the_tail_is_inverted_to_the_last_digits(start):
    u = (Stream(6, "t").words(0, 1000) + 0.5) * 2.0**-32
    quantiles = inverse(u, 0.0, 1.0, start, start + 100.0)
    drop = stats.norm.logsf(start) - stats.norm.logsf(quantiles)
    # The logarithms are up to 800, so that their difference has an error near 1e-13.
    np.testing.assert_allclose(drop, -np.log1p(-u), rtol=0, atol=1e-12)


def test_below_the_mean_mirrors_above():
    words = Stream(4, "t").words(0, 1000)
    above = truncated_normal(words, 0.0, 1.0, 4.0, 400.0)
    below = truncated_normal(~words, 0.0, 1.0, -400.0, -4.0)
    np.testing.assert_array_equal(below, -above)


@pytest.mark.parametrize(("mean", "std", "low", "high"), INTERVALS)
def test_larger_words_give_larger_numbers(mean, std, low, high):
    words = np.sort(Stream(5, "t").words(0, 5000))
    assert (np.diff(truncated_normal(words, mean, std, low, high)) >= 0).all()


@pytest.mark.parametrize(
    ("mean", "low", "high", "value"),
    [(0.0, -2.0, 2.0, 0.0), (5.0, -2.0, 2.0, 2.0), (-5.0, -2.0, INF, -2.0), (1.0, -INF, INF, 1.0)],
)
def test_std_zero_gives_the_mean_moved_into_the_interval(mean, low, high, value):
    assert set(Stream(0, "t").truncated_normal(10, mean, 0.0, low, high).tolist()) == {value}


def test_an_empty_interior_gives_its_only_point():
    assert set(Stream(0, "t").truncated_normal(10, 0.0, 1.0, 0.25, 0.25).tolist()) == {0.25}
    assert set(Stream(0, "t").truncated_normal(10, 0.0, 1.0, 0.1, 0.1).tolist()) == {float(np.float32(0.1))}


REAL = st.floats(-1e35, 1e35)
WORDS = np.array([0, 1, 2**31, 2**32 - 2, 2**32 - 1], dtype=np.uint32)


@settings(deadline=None)
@given(
    REAL,
    st.floats(0, 1e30),
    st.tuples(REAL, REAL) | st.tuples(REAL, st.just(INF)) | st.tuples(st.just(-INF), REAL),
)
def test_every_draw_of_every_interval_is_inside(mean, std, ends):
    low, high = sorted(float(np.float32(end)) for end in ends)
    draws = truncated_normal(WORDS, mean, std, low, high)
    assert np.isfinite(draws).all()
    assert (draws >= low).all()
    assert (draws <= high).all()
    assert (np.diff(draws) >= 0).all()
