"""The loops over arrays, against the formula in NumPy's float64: any shape, any number of threads, any piece."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.kernels import activations, batch_norm
from evenflow.norm.activations import ACTIVATIONS

RELU, KEEP = 1, False


def normalizer(rows, element="float32"):
    """Find the loops, as if the array were large."""
    return batch_norm.find_normalizer(RELU, KEEP, rows, element, 10**9)


def reference(x, dy, scale, shift, eps):
    """Return output, mean, variance, and gradients of input, scale and shift."""
    over = (0,) if x.ndim == 2 else (0, 2)
    beside = (slice(None),) if x.ndim == 2 else (slice(None), None)
    x, dy = x.astype(np.float64), dy.astype(np.float64)
    mean, variance = x.mean(over), x.var(over)
    inverse = 1 / np.sqrt(variance + eps)
    unit = (x - mean[beside]) * inverse[beside]
    z = unit * scale[beside] + shift[beside]
    g = dy * (z > 0)
    d_scale, d_shift = (g * unit).sum(over), g.sum(over)
    lost = (d_shift[beside] + unit * d_scale[beside]) / (x.size / x.shape[1])
    return np.maximum(z, 0), mean, variance, (g - lost) * (scale * inverse)[beside], d_scale, d_shift


def address(array):
    return array.ctypes.data


def normalized(found, x, scale, shift, eps, threads):
    """Return the output and the moments, (2, channel)."""
    y, moments = np.empty_like(x), np.empty((2, x.shape[1]))
    work = found.forward(len(x), x.shape[1], x[0, 0].size, given=False, threads=threads)
    call = work.take()
    call.x = call.r = address(x)
    call.weight, call.bias = address(scale), address(shift)
    call.y, call.moments, call.eps, call.running_mean, call.batches = address(y), address(moments), eps, 0, 0
    work.do(call)
    return y, moments


def run(found, x, dy, scale, shift, eps, threads):
    y, moments = normalized(found, x, scale, shift, eps, threads)
    dx, d_scale, d_shift = np.empty_like(x), np.empty_like(scale), np.empty_like(shift)
    work = found.backward(len(x), x.shape[1], x[0, 0].size, given=False, threads=threads)
    call = work.take()
    call.x = call.r = address(x)
    call.weight, call.bias = address(scale), address(shift)
    call.dy, call.moments, call.eps = address(dy), address(moments), eps
    call.dx = call.dr = address(dx)
    call.d_weight, call.d_bias = address(d_scale), address(d_shift)
    work.do(call)
    return y, *moments, dx, d_scale, d_shift


def plain(found, x, threads=1):
    """Return the moments of a batch, with scale 1 and shift 0."""
    return normalized(found, x, *np.array([1, 0], np.float32).repeat(x.shape[1]).reshape(2, -1), 1e-5, threads)[1]


def batch(shape, seed=0, offset=0.0):
    make = np.random.default_rng(seed)
    x, dy = make.standard_normal((2, *shape))
    scale, shift = make.uniform(0.5, 2, (2, shape[1]))
    return tuple(part.astype(np.float32) for part in (x * 2 + offset, dy, scale, shift))


shapes = st.one_of(
    st.tuples(st.integers(2, 300), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(2, 70)),
)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10**6), st.sampled_from([0.0, 3.0, -1e3]))
def test_any_shape(shape, seed, offset):
    x, dy, scale, shift = batch(shape, seed, offset)
    found = run(normalizer(len(shape) == 2), x, dy, scale, shift, 1e-3, 2)
    for ours, wanted in zip(found, reference(x, dy, scale, shift, 1e-3), strict=True):
        kinks = 1e-4 * abs(offset)  # a value that is rounded across zero keeps or loses its whole gradient
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=2e-5 + kinks)


@pytest.mark.parametrize(
    "shape",
    [(64, 1024), (40_000, 7), (70_000, 3), (9, 2, 40_000), (600, 3, 300), (64, 40, 100), (3, 1, 90_001)],
    ids=str,
)
def test_no_bit_depends_on_the_number_of_threads(shape):
    x, dy, scale, shift = batch(shape)
    found = normalizer(len(shape) == 2)
    alone = run(found, x, dy, scale, shift, 1e-5, 1)
    for threads in (2, 3, 8):
        for one, other in zip(alone, run(found, x, dy, scale, shift, 1e-5, threads), strict=True):
            assert np.array_equal(one, other)
    for ours, wanted in zip(alone, reference(x, dy, scale, shift, 1e-5), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)


def test_arrays_that_are_cut_in_pieces_are_summed_whole():
    """Each row of a long array counts once, whatever the pieces."""
    for rows in (2**16, 2**16 + 1, 3 * 2**15 + 5):
        x = np.zeros((rows, 1), dtype=np.float32)
        x[-1] = rows
        np.testing.assert_allclose(plain(normalizer(True), x, threads=2)[:, 0], [1.0, rows - 1], rtol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_bad_value_stays_in_its_channel(bad):
    x, dy, scale, shift = batch((20, 6, 30))
    clean = run(normalizer(False), x, dy, scale, shift, 1e-5, 1)
    x[3, 2, 5] = bad
    y, mean, variance, dx, _, _ = run(normalizer(False), x, dy, scale, shift, 1e-5, 1)
    others = [0, 1, 3, 4, 5]
    assert np.isnan(y[:, 2]).all()
    assert not np.isfinite(mean[2])
    assert np.isnan(variance[2])
    assert np.isnan(dx[:, 2]).all()
    for ours, wanted in ((y, clean[0]), (dx, clean[3])):
        assert np.array_equal(ours[:, others], wanted[:, others])
    assert np.array_equal(mean[others], clean[1][others])


def test_large_means_cancel_nothing():
    x, dy, scale, shift = batch((4096, 8), offset=1e6)
    y, mean, variance, *_ = run(normalizer(True), x, dy, scale, shift, 1e-5, 1)
    wanted = reference(x, dy, scale, shift, 1e-5)
    np.testing.assert_allclose(mean, wanted[1], rtol=1e-14)
    np.testing.assert_allclose(variance, wanted[2], rtol=1e-10)
    np.testing.assert_allclose(y, wanted[0], atol=3e-6)


def test_a_constant_channel_has_no_variance():
    x = np.full((1000, 2), 0.1, dtype=np.float32)
    mean, variance = plain(normalizer(True), x)
    assert np.array_equal(mean, x[0].astype(np.float64))
    assert np.array_equal(variance, [0.0, 0.0])


def test_small_arrays_do_not_load_a_kernel():
    assert batch_norm.find_normalizer(RELU, KEEP, True, "float32", batch_norm.WORTH_LOADING - 1) is None


def test_numbers_of_activations_mean_the_same_to_kernels_and_layers():
    assert (None, *ACTIVATIONS) == activations.NAMES
