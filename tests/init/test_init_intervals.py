import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import evenflow as ef
from evenflow.init.interval import inside
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
