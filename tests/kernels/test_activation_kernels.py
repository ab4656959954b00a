"""Activations and slopes in float32 and float64, against torch's in float64."""

import numba
import numpy as np
import pytest
import torch
from scipy import special

from evenflow.kernels import activations
from evenflow.norm.activations import activate, carry_back

SPACE = np.concatenate([np.linspace(-14, 14, 40_001), [-100.0, -30.0, 30.0, 100.0]])


@numba.njit(error_model="numpy")
def values(act, x, y):
    for i in range(x.size):
        y[i] = activations.activate(act, x[i])


@numba.njit(error_model="numpy")
def slopes(act, x, y):
    for i in range(x.size):
        y[i] = activations.slope(act, x[i])


def run(loop, act, x):
    y = np.empty_like(x)
    loop(act, x, y)
    return y


@pytest.mark.parametrize("act", range(len(activations.NAMES)), ids=map(str, activations.NAMES))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_and_slopes(act, dtype):
    x = SPACE.astype(dtype)
    wide, name = torch.from_numpy(x).double(), activations.NAMES[act]
    unit = np.finfo(dtype).eps
    size = np.maximum(1, np.abs(x))  # the value of GELU is x times a probability, which has an error of its own
    value, slope = activate(name, wide).numpy(), carry_back(name, torch.ones_like(wide), wide).numpy()
    assert (np.abs(run(values, act, x) - value) <= 2 * unit * size).all()
    assert (np.abs(run(slopes, act, x) - slope) <= 4 * unit * size).all()


@pytest.mark.parametrize("act", range(len(activations.NAMES)), ids=map(str, activations.NAMES))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_stays_nan(act, dtype):
    assert np.isnan(run(values, act, np.array([np.nan], dtype=dtype)))


@pytest.mark.parametrize("act", range(len(activations.NAMES)), ids=map(str, activations.NAMES))
def test_torch_is_no_more_exact(act):
    """The largest error of ours is that of torch's function, or twice the last digit where that is more exact."""
    x, name = SPACE.astype(np.float32), activations.NAMES[act]
    exact = activate(name, torch.from_numpy(x).double()).numpy()
    theirs = np.abs(activate(name, torch.from_numpy(x)).numpy() - exact).max()
    assert np.abs(run(values, act, x) - exact).max() <= max(1.1 * theirs, 2 * np.finfo(np.float32).eps)


def test_exponential_is_within_little_more_than_an_ulp():
    @numba.njit(error_model="numpy")
    def loop(x, y):
        for i in range(x.size):
            y[i] = activations.exp32(x[i])

    x = np.linspace(-87, 88, 2_000_001, dtype=np.float32)
    y, exact = np.empty_like(x), np.exp(x.astype(np.float64))
    loop(x, y)
    assert (np.abs(y - exact) <= 1.1 * np.spacing(exact.astype(np.float32))).all()


def test_the_normal_distribution_function_is_as_near_as_it_says():
    @numba.njit(error_model="numpy")
    def loop(x, y):
        for i in range(x.size):
            y[i] = activations.phi32(x[i])

    x = np.linspace(-8, 8, 1_000_001, dtype=np.float32)
    y = np.empty_like(x)
    loop(x, y)
    assert np.abs(y - special.ndtr(x.astype(np.float64))).max() <= 1.6e-7


@pytest.mark.parametrize("name", ["exp", "phi", "density", "tanh", "leak"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plain_python_gives_the_same_number(name, dtype):
    function = getattr(activations, name)

    @numba.njit(error_model="numpy")
    def call(x):
        return function(x)

    for x in np.array([-3.0, -0.1, 0.0, 0.7, 4.0], dtype=dtype):
        assert call(x) == pytest.approx(float(function(x)), rel=4 * float(np.finfo(dtype).eps))
