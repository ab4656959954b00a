"""Moments beside a slow and obvious twin in NumPy float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evenflow.probe.moments import BINS, SAMPLED, moments, size
from evenflow.probe.sums import BLOCK, ROW, about_mean, square_sum

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
REALS = st.floats(allow_nan=False, allow_infinity=False, width=32)
ANY = st.floats(width=32)
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]


def twin(values: torch.Tensor) -> dict[str, float | int | None]:
    """Every number by its definition; divided by the largest value first, so that squares stay finite."""
    x = (torch.view_as_real(values) if values.is_complex() else values).double().numpy()
    finite = x[np.isfinite(x)]
    nonfinite = x.size - finite.size
    if finite.size == 0:
        nothing = math.nan if x.size else 0.0
        numbers = dict.fromkeys(("mean", "std", "rms", "low", "high", "norm"), nothing)
        return numbers | {"spread": None, "nonfinite": nonfinite}
    largest = np.abs(finite).max() or 1.0
    unit = finite / largest
    rms = largest * math.sqrt(np.mean(unit**2))
    spread = None
    if nonfinite == 0 and values.dim() > 0 and len(values) > 1:
        spread = largest * math.sqrt(np.mean(np.var(x / largest, axis=0)))
    samples = len(values) if values.dim() else 1
    return {
        "mean": largest * np.mean(unit),
        "std": largest * np.std(unit),
        "rms": rms,
        "low": finite.min(),
        "high": finite.max(),
        "spread": spread,
        "norm": rms * math.sqrt(x.size / samples),
        "nonfinite": nonfinite,
    }


def assert_twins(values: torch.Tensor) -> None:
    measured, expected = moments(values, histogram=True), twin(values)
    assert measured.shape == tuple(values.shape)
    assert measured.nonfinite == expected["nonfinite"]
    finite = [abs(expected[end]) for end in ("low", "high") if not math.isnan(expected[end])]
    largest = max(finite, default=0.0)
    for name in ("low", "high"):
        assert getattr(measured, name) == pytest.approx(expected[name], rel=0, abs=0, nan_ok=True)
    assert measured.mean == pytest.approx(expected["mean"], rel=0, abs=2e-6 * largest, nan_ok=True)
    for name in ("rms", "norm"):
        assert getattr(measured, name) == pytest.approx(expected[name], rel=1e-5, nan_ok=True)
    # Deviations below 1e-14 of the largest value have squares that float32 cannot hold.
    assert measured.std == pytest.approx(expected["std"], rel=1e-4, abs=1e-14 * largest, nan_ok=True)
    if expected["spread"] is None:
        assert measured.spread is None
    else:
        assert measured.spread == pytest.approx(expected["spread"], rel=1e-4, abs=1e-14 * largest)


@settings(max_examples=300)
@given(hnp.arrays(np.float32, SHAPES, elements=REALS), st.sampled_from(DTYPES))
def test_finite_values_of_every_shape_and_dtype(array, dtype):
    assert_twins(torch.from_numpy(array).clamp(-6e4, 6e4).to(dtype) if dtype != torch.float32 else torch.tensor(array))


@settings(max_examples=200)
@given(hnp.arrays(np.float32, SHAPES, elements=ANY))
def test_nan_and_infinity_are_counted_and_left_out(array):
    assert_twins(torch.tensor(array))


@given(hnp.arrays(np.complex64, SHAPES, elements=st.complex_numbers(width=64, allow_subnormal=False)))
def test_complex_values_are_pairs_of_reals(array):
    assert_twins(torch.tensor(array))


def test_conjugate_views_are_resolved():
    x = torch.randn(4, 3, dtype=torch.complex64)
    assert moments(x.conj().imag).mean == pytest.approx(-moments(x.imag).mean)
    assert moments(x.conj()).rms == pytest.approx(moments(x).rms)


@pytest.mark.parametrize("scale", [1e-45, 1e-40, 1e-30, 1e-9, 1e-8, 1.0, 1e14, 1e15, 1e30, 3e37])
@pytest.mark.parametrize("shape", [(), (7,), (1, 7), (5, 7), (3, 2, 2, 4)])
def test_scales_beyond_the_squares_of_float32(scale, shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    assert_twins((x.double() * scale).float())


@pytest.mark.parametrize("scale", [1e-308, 1e-200, 1e200, 5e307])
def test_scales_beyond_the_squares_of_float64(scale):
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).clamp(-3, 3)
    assert_twins(x * scale)


@pytest.mark.parametrize("mean", [0.0, 1.0, 1e4, -1e6, 1e7])
def test_a_large_mean_does_not_drown_the_deviation(mean):
    x = mean + torch.randn(64, 33, generator=torch.Generator().manual_seed(1))
    assert_twins(x)


def test_one_unit_in_the_last_place_is_seen():
    x = torch.full((4, 3), 1000.0)
    x[1] = torch.nextafter(x[1], torch.tensor(2000.0))
    assert_twins(x)
    assert moments(x).spread > 0


@pytest.mark.parametrize("view", ["transposed", "channels_last", "strided", "expanded", "requires_grad"])
def test_memory_layout_does_not_matter(view):
    x = torch.randn(6, 4, 5, 3, generator=torch.Generator().manual_seed(2))
    changed = {
        "transposed": x.transpose(0, 2),
        "channels_last": x.to(memory_format=torch.channels_last),
        "strided": x[::2, :, 1:],
        "expanded": x[:1].expand(6, 4, 5, 3),
        "requires_grad": x.requires_grad_(),
    }[view]
    assert_twins(changed.detach())
    assert moments(changed) == moments(changed.detach().contiguous())


@pytest.mark.parametrize("shape", [(3, BLOCK), (2 * BLOCK + 5, 2), (ROW + 1,), (BLOCK + ROW + 7,)])
def test_tensors_of_several_blocks(shape):
    x = 3 + torch.randn(shape, generator=torch.Generator().manual_seed(3))
    assert_twins(x)


def test_the_spread_is_the_deviation_across_samples_alone():
    constant_units = torch.arange(5.0).expand(8, 5)
    assert moments(constant_units).spread == 0
    assert moments(constant_units).std == pytest.approx(math.sqrt(2))


def test_one_sample_has_no_spread():
    assert moments(torch.randn(1, 5)).spread is None
    assert moments(torch.tensor(2.0)).spread is None
    assert moments(torch.tensor(1j)).spread is None


def test_samples_are_dimension_0():
    assert moments(torch.zeros(3, 5)).samples == 3
    assert moments(torch.tensor(1.0)).samples == 1


# The histogram


@given(hnp.arrays(np.float32, SHAPES, elements=ANY))
def test_a_histogram_counts_every_finite_value_once(array):
    measured = moments(torch.tensor(array), histogram=True)
    if not np.isfinite(array).any():
        assert measured.histogram is None
        return
    bars = measured.histogram
    assert (bars.low, bars.high) == (measured.low, measured.high)
    assert sum(bars.counts) == np.isfinite(array).sum()
    assert len(bars.counts) in (1, BINS)


@given(hnp.arrays(np.float32, st.integers(2, 200), elements=st.floats(-100, 100, width=32)))
def test_a_histogram_is_numpys(array):
    assume(array.max() - array.min() > 1e-3)
    bars = moments(torch.tensor(array), histogram=True).histogram
    x = array.astype(np.float64)
    expected, edges = np.histogram(x, bins=BINS, range=(x.min(), x.max()))
    # A value within rounding of an edge may fall on either side of it.
    near_edge = np.isclose(x[:, None], edges[None, 1:-1], rtol=0, atol=1e-9 * (x.max() - x.min())).any()
    assert near_edge or bars.counts == tuple(expected)


def test_one_value_is_one_bar():
    assert moments(torch.full((3, 3), 2.0), histogram=True).histogram.counts == (9,)


def test_a_range_beyond_float64_is_one_bar():
    x = torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64)
    assert moments(x, histogram=True).histogram.counts == (2,)


@pytest.mark.parametrize("shape", [(4096, 64), (64, 64, 8, 8), (128, 1024), (7, 9973), (SAMPLED * 2,)])
def test_the_subsample_of_a_large_tensor_meets_every_unit_alike(shape):
    units = math.prod(shape[1:])
    x = torch.arange(units, dtype=torch.float32).reshape(shape[1:]).expand(shape).contiguous()
    bars = moments(x, histogram=True).histogram
    sampled = sum(bars.counts)
    assert SAMPLED / 2 <= sampled <= 2 * SAMPLED
    if units > 1:
        # The units are spread evenly over the range, so every bar should get its share of the sample.
        assert min(bars.counts) > 0.5 * sampled / BINS
        assert max(bars.counts) < 2.0 * sampled / BINS


def test_no_histogram_unless_asked_for():
    assert moments(torch.randn(3)).histogram is None


# Size: the root mean square and norm of a parameter


@given(hnp.arrays(np.float32, SHAPES, elements=ANY))
def test_size_is_the_norm_of_the_finite_values(array):
    finite = array[np.isfinite(array)].astype(np.float64)
    rms, norm, nonfinite = size(torch.tensor(array))
    assert nonfinite == array.size - finite.size
    if finite.size:
        assert norm == pytest.approx(np.linalg.norm(finite), rel=1e-5)
        assert rms == pytest.approx(np.linalg.norm(finite) / math.sqrt(finite.size), rel=1e-5)
    else:
        assert (rms == 0 and norm == 0) if array.size == 0 else (math.isnan(rms) and math.isnan(norm))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_size_of_other_dtypes(dtype):
    x = torch.randn(40, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float32).to(dtype)
    assert size(x)[1] == pytest.approx(float(torch.linalg.vector_norm(x.to(torch.complex128))), rel=1e-5)


# Sums


def test_squares_of_millions_of_values_are_not_lost():
    x = torch.randn(5_000_011, generator=torch.Generator().manual_seed(5))
    assert square_sum(x) == pytest.approx(float(x.double().square().sum()), rel=1e-6)


@pytest.mark.parametrize("value", [0.1, 1e7 / 3, -1e-9, 1.7814788e16])
@pytest.mark.parametrize("samples", [2, 3, 7, 1000])
def test_constants_deviate_by_exactly_zero(value, samples):
    measured = moments(torch.full((samples, 3), value))
    assert (measured.std, measured.spread) == (0.0, 0.0)


@pytest.mark.parametrize("shape", [(1000,), (1000, 1), (4, 1000)])
def test_centre_and_rest_are_the_mean_beyond_float32(shape):
    x = 1e6 + torch.rand(shape, generator=torch.Generator().manual_seed(6))
    centre, rest, squares = about_mean(x)
    exact = x.double()
    torch.testing.assert_close(centre.double() + rest.double(), exact.mean(0), rtol=1e-9, atol=0)
    assert squares == pytest.approx(float((exact - exact.mean(0)).square().sum()), rel=1e-4)


def test_an_outlier_in_front_does_not_hide_the_rest():
    x = torch.ones(100_000)
    x[0], x[1] = 1e6, 2.0
    assert_twins(x)
