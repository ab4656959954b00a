import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import evenflow as ef
from evenflow.errors import ParameterValueError
from evenflow.init.interval import inside, truncated_spread
from evenflow.random import Stream

INF = math.inf


def grid(dtype):
    """All finite numbers of a 16-bit dtype, sorted."""
    numbers = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype).double()
    return numbers[numbers.isfinite()].unique()


GRIDS = {dtype: grid(dtype) for dtype in (torch.float16, torch.bfloat16)}
END = st.floats(-7e4, 7e4) | st.floats(-1e-7, 1e-7) | st.sampled_from([0.0, 1.0, -1.0, 0.9999, -0.9999, 0.1, INF, -INF])


@settings(deadline=None)
@given(st.sampled_from([torch.float16, torch.bfloat16]), END, END)
def test_the_numbers_inside_an_interval(dtype, one, other):
    low, high = sorted((one, other))
    numbers = GRIDS[dtype]
    fitting = numbers[(numbers >= low) & (numbers <= high)]
    bottom, top = inside(low, high, dtype)
    if len(fitting):
        assert (bottom, top) == (fitting[0].item(), fitting[-1].item())
    else:
        assert bottom == top
        assert bottom in numbers


@settings(deadline=None)
@given(st.floats(-1e30, 1e30))
def test_single_precision_is_torchs_nextafter(end):
    bottom, _ = inside(end, INF, torch.float32)
    nearest = torch.tensor(end, dtype=torch.float32)
    expected = nearest if nearest.item() >= end else nearest.nextafter(torch.tensor(INF))
    assert bottom == expected.item()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("std", "low", "high"),
    [
        (1.0, -0.3, 0.3),
        (1.0, 0.1, INF),
        (1.0, -INF, -4.1),
        (0.02, -0.041, 0.039),
        (1e3, -1e6, 1e6),
        (1.0, 0.1, 0.7),
    ],
)
def test_no_element_of_any_dtype_leaves_the_interval(dtype, std, low, high):
    weight = ef.init.trunc_normal_(torch.zeros(20_000, dtype=dtype), 0.0, std, low, high, stream=Stream(0, "w"))
    assert weight.isfinite().all()
    assert low <= weight.double().min()
    assert weight.double().max() <= high


def test_a_point_that_float32_does_not_have_is_kept_in_float64():
    weight = ef.init.trunc_normal_(torch.zeros(3, dtype=torch.float64), 0.0, 1.0, 0.1, 0.1)
    assert weight.tolist() == [0.1] * 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-1.0, 1.0), (0.3, 0.30001), (-0.1, 0.7), (-3.0, -2.0)])
def test_a_uniform_draw_of_a_half_type_never_reaches_the_upper_bound(dtype, low, high):
    draws = ef.init.uniform_(torch.empty(300_000, dtype=dtype), low, high, stream=Stream(0, "u")).double()
    if high - low > 0.01:
        assert draws.min() >= low
        assert draws.max() < high
    else:  # no number of the type lies between: the nearest
        assert (draws - low).abs().max() < 0.002


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [
        (0.0, 0.5, -2.0, 2.0),
        (0.0, 1.0, -2.0, 2.0),
        (1.0, 0.3, 0.0, math.inf),
        (0.0, 0.2, 3.0, 4.0),
        (5.0, 0.1, -1.0, 1.0),
    ],
)
def test_a_corrected_standard_deviation_is_that_of_the_draws(mean, std, low, high):
    draws = ef.init.truncated_normal_(
        torch.empty(200_000), mean, std, low, high, corrected=True, stream=Stream(0, "c")
    ).double()
    assert abs(draws.std() / std - 1) < 0.02


@pytest.mark.parametrize(
    ("mean", "std", "low", "high"),
    [
        (0.0, 1.0, -2.0, 2.0),
        (0.0, 1.0, 3.0, 5.0),
        (0.0, 1.0, -math.inf, 1.0),
        (2.0, 0.5, -1.0, 1.0),
        (0.0, 9.0, 0.0, 1.0),
    ],
)
def test_the_spread_of_a_truncated_normal_is_scipys(mean, std, low, high):
    expected = stats.truncnorm.std((low - mean) / std, (high - mean) / std, loc=mean, scale=std)
    assert truncated_spread(mean, std, low, high) == pytest.approx(expected, rel=1e-6)


def test_no_distribution_spreads_more_than_the_flat_one():
    with pytest.raises(ParameterValueError, match=r"below 1\.1547, which a flat distribution"):
        ef.init.truncated_normal_(torch.empty(3), std=1.2, corrected=True)
