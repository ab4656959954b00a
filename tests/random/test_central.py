"""The fast truncated normal draws against SciPy's quantiles, and where they hand over to the exact ones."""

import numpy as np
import pytest
from scipy import special, stats

from evenflow.random import Stream
from evenflow.random.central import central, ends, parameters

INF = np.inf
WORDS = np.arange(0, 2**32, 9973, dtype=np.uint64).astype(np.uint32)
EXTREME = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1], dtype=np.uint32)


def true_quantiles(words, left, right, share):
    u = ((words >> 1).astype(float) + 0.5) * 2.0**-31
    below, above = left + u * share, right + (1 - u) * share
    return np.where(below < above, special.ndtri(below), -special.ndtri(above))


@pytest.mark.parametrize("words", [WORDS, EXTREME], ids=["all over", "extreme"])
@pytest.mark.parametrize(
    ("low", "high"),
    [(-INF, INF), (-2.0, 2.0), (0.0, INF), (1.0, INF), (-INF, 3.0), (0.3, 0.5), (-6.0, 6.0), (-2.0, -0.25)],
)
def test_a_quantile_is_within_five_units_in_the_last_place(words, low, high):
    found = parameters(0.0, 1.0, low, high)
    true = true_quantiles(words, *found[:3])
    # The units of the smallest normal number, near 0, are those of the rounding of 1 - 2q.
    allowed = 5 * np.maximum(np.spacing(np.abs(true).astype(np.float32)), 2.0**-24 * 1e-7)
    assert (np.abs(central(words, *found) - np.clip(true, low, high)) <= allowed).all()


def test_the_probabilities_are_scipys():
    for low, high in ((-2.0, 2.0), (0.5, 1.5), (-1.5, -0.5), (-3.0, INF)):
        left, right, share = parameters(0.0, 1.0, low, high)[:3]
        below, above = stats.norm.cdf(low), stats.norm.sf(high)
        np.testing.assert_allclose((left, right, share), (below, above, 1 - below - above), rtol=1e-13, atol=1e-300)


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [(0.0, 1.0, 4.0, 400.0), (0.0, 1.0, 0.0, 0.05), (0.0, 0.0, -1.0, 1.0), (-9.0, 1.0, 0.0, INF), (0.0, 1.0, 1.0, 1.0)],
)
def test_far_narrow_and_empty_intervals_are_left_to_the_exact_inverse(mean, std, low, high):
    assert parameters(mean, std, low, high) is None


@pytest.mark.parametrize(("low", "high"), [(-2.0, 2.0), (0.1, 0.9), (-0.3, INF)])
def test_no_draw_is_outside(low, high):
    draws = central(np.concatenate([WORDS, EXTREME]), *parameters(0.0, 1.0, low, high)).astype(float)
    assert draws.min() >= low
    assert draws.max() <= high


def test_both_ways_meet():
    """On an interval that either can take, they differ by rounding alone."""
    from evenflow.random.truncated import truncated_normal

    words = Stream(0, "t").words(0, 10_000)
    fast = central(words, *parameters(0.5, 2.0, -1.0, 3.0))
    np.testing.assert_allclose(fast, truncated_normal(words, 0.5, 2.0, -1.0, 3.0), rtol=0, atol=2e-6)


def test_the_ends_are_float32_inside_the_interval():
    assert list(map(float, ends(-INF, INF))) == [-np.finfo(np.float32).max, np.finfo(np.float32).max]
    for low, high in ((0.1, 0.2), (-0.2, -0.1), (0.3, 0.7)):
        bottom, top = map(float, ends(low, high))
        assert low <= bottom <= top <= high
        assert float(np.nextafter(np.float32(bottom), np.float32(-INF))) < low
        assert float(np.nextafter(np.float32(top), np.float32(INF))) > high
