"""The float32 logarithm, cosine and sine against float64, over what Box-Muller can pass to them."""

import numpy as np

from evenflow.random.transforms import cos_sin, log


def binade(exponent, step):
    """Every `step`-th float32 in [2^exponent, 2^(exponent + 1))."""
    mantissas = np.arange(0, 2**23, step, dtype=np.uint32)
    return (mantissas + np.uint32((exponent + 127) << 23)).view(np.float32)


def ulps(x):
    true = np.log(x.astype(np.float64))
    return np.abs(log(x) - true) / np.spacing(np.abs(true).astype(np.float32))


def test_log_is_within_086_ulp_everywhere():
    # Exhaustive where the error is largest, next to 1; every 64th number elsewhere.
    assert ulps(binade(-1, 1)).max() < 0.86
    assert max(ulps(binade(exponent, 64)).max() for exponent in range(-33, -1)) < 0.78


def test_log_is_exact_at_one_and_negative_below():
    assert log(np.ones(1, np.float32)).tolist() == [0.0]
    assert log(np.nextafter(np.ones(1, np.float32), np.float32(0)))[0] == np.float32(np.log1p(-(2.0**-24)))


def test_log_never_decreases_next_to_one():
    assert (np.diff(log(binade(-1, 1))) >= 0).all()


def test_cosine_and_sine_of_every_angle():
    for part in range(4):
        turns = np.arange(part << 22, (part + 1) << 22, dtype=np.uint32)
        angle = turns * (2 * np.pi / 2**24)
        cosine, sine = cos_sin(turns)
        assert np.abs(cosine - np.cos(angle)).max() < 7.4e-8
        assert np.abs(sine - np.sin(angle)).max() < 7.4e-8


def test_quarter_turns_are_exact():
    cosine, sine = cos_sin(np.arange(4, dtype=np.uint32) << np.uint32(22))
    assert cosine.tolist() == [1, 0, -1, 0]
    assert sine.tolist() == [0, 1, 0, -1]


def test_a_quarter_turn_takes_cosine_to_sine():
    turns = np.arange(0, 2**22, 37, dtype=np.uint32)
    cosine, sine = cos_sin(turns)
    next_cosine, next_sine = cos_sin(turns + np.uint32(1 << 22))
    np.testing.assert_array_equal(next_sine, cosine)
    np.testing.assert_array_equal(next_cosine, -sine)
