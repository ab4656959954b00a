"""Errors against float64, beside torch's, over shapes, dtypes, layouts and means."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from evenflow.kernels import batch_norm as kernels
from evenflow.norm import batch_norm, operators
from evenflow.norm.formula import Parts
from evenflow.norm.normalize import TOLERANCE

SHAPES = {
    "planes": (8, 16, 24, 24),
    "few channels": (24, 3, 40, 40),
    "rows": (6000, 16),
    "channels_last": (8, 16, 24, 24),
}


@pytest.fixture(params=["torch's kernel", "ours"], autouse=True)
def way(request, monkeypatch):
    """Small and large batches go different ways; both must be right, whatever the size."""
    monkeypatch.setattr(kernels, "WORTH_LOADING", 1 if request.param == "ours" else 10**12)
    return request.param


DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def batch(name, mean, dtype):
    make = torch.Generator().manual_seed(11)
    x = torch.randn(SHAPES[name], generator=make, dtype=torch.float64) + mean
    return x.to(dtype).contiguous(
        memory_format=torch.channels_last if name == "channels_last" else torch.contiguous_format
    )


def passes(function, x, dy):
    x = x.detach().requires_grad_()
    y = function(x)
    return y.detach(), *torch.autograd.grad(y, x, dy)


def long(x, dy):
    """Return output and gradient of the input in extended precision."""
    over = (0, *range(2, x.dim()))
    x, dy = (t.detach().double().numpy().astype(np.longdouble) for t in (x, dy))
    unit = x - x.mean(over, keepdims=True)
    inverse = 1 / np.sqrt((unit * unit).mean(over, keepdims=True) + np.longdouble(1e-5))
    unit = unit * inverse
    lost = dy.mean(over, keepdims=True) + unit * (dy * unit).mean(over, keepdims=True)
    return unit, (dy - lost) * inverse


def ours(x):
    return batch_norm(x, None, None, training=True)


def theirs(x):
    return F.batch_norm(x, None, None, None, None, True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("mean", [0.0, 1.0, 1e2, 1e4, 1e6])
@pytest.mark.parametrize("name", SHAPES)
def test_error_is_no_larger_than_torchs(way, name, mean, dtype):
    if dtype == torch.float16 and mean > 1e4:
        mean = 3e4  # the largest magnitude is 65,504
    x = batch(name, mean, dtype)
    dy = torch.randn(x.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64).to(dtype)
    unit = torch.finfo(dtype).eps
    for mine, torchs, right in zip(passes(ours, x, dy), passes(theirs, x, dy), long(x, dy), strict=True):
        scale = np.abs(right).max()
        error, peer = (np.abs(found.double().numpy() - right).max() for found in (mine, torchs))
        assert error <= max(1.05 * peer, 3 * unit * scale)
        rounded = unit * abs(mean) if dtype == torch.float64 else 0  # the mean itself is a double
        tolerated = TOLERANCE if way == "torch's kernel" else 0
        assert error <= 4 * unit * scale + rounded + tolerated


@pytest.mark.parametrize("name", SHAPES)
def test_torch_is_bad_where_the_mean_is_large(name):
    """What the test above guards against is there: otherwise it would show nothing."""
    x = batch(name, 1e6, torch.float32)
    exact = theirs(x.double() - x.double().mean((0, *range(2, x.dim())), keepdim=True))
    assert (theirs(x) - exact).abs().max() > 100 * (ours(x) - exact).abs().max()


@pytest.mark.parametrize("name", SHAPES)
def test_runs_and_threads_give_the_same_bits(name, monkeypatch):
    """Of a large batch: torch's kernel for rows, which small ones take, adds up by thread."""
    monkeypatch.setattr(kernels, "WORTH_LOADING", 1)
    x, threads = batch(name, 1.0, torch.float32), torch.get_num_threads()
    dy = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    try:
        torch.set_num_threads(1)
        first = passes(ours, x, dy)
        torch.set_num_threads(2)
        for _ in range(3):
            assert all(map(torch.equal, first, passes(ours, x, dy)))
    finally:
        torch.set_num_threads(threads)


def test_running_statistics_take_the_moments_in_double():
    x = batch("rows", 1e6, torch.float32)
    _, moments = operators.normalize(Parts(x, None, None, None), None, 1e-5, None)
    torch.testing.assert_close(moments[1], x.double().var(0, correction=0), rtol=1e-9, atol=0)
