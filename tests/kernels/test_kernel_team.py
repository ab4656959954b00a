"""The threads that take a loop up: torch's own, or the pool's where there are none, to the same bits."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from evenflow.kernels import batch_norm, pool, team
from evenflow.norm import BatchNorm1d, BatchNorm2d
from evenflow.random import Stream

SHAPES = [(16, 64, 8, 8), (5000, 40), (9, 2, 200, 200)]

FORK = """
import os, sys, torch
from evenflow.norm import BatchNorm2d

torch.set_num_threads(2)
layer, x = BatchNorm2d(64), torch.randn(16, 64, 16, 16)

def output():
    # What torch does itself in a child may wait for ever.
    return layer(x).detach().numpy().tobytes()

before = output()
child = os.fork()
if child == 0:
    os._exit(0 if output() == before else 1)
_, status = os.waitpid(child, 0)
assert output() == before
sys.exit(os.waitstatus_to_exitcode(status))
"""

FORK_BEFORE_THE_IMPORT = """
import os, sys, torch

torch.set_num_threads(2)
torch.randn(10**6).exp()
child = os.fork()
if child == 0:
    from evenflow import init
    from evenflow.norm import BatchNorm2d
    from evenflow.random import Stream
    with torch.no_grad():
        Stream(0, "a").normal(2**20, threads=2)
        init.normal_(torch.empty(1024, 1024))
        init.normal_(torch.empty(1024, 1024, dtype=torch.bfloat16))
    os._exit(0)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status))
"""

STUB = """
import sys, types
from evenflow.random import Stream

sys.modules["torch"] = types.ModuleType("torch")
Stream(0, "a").normal(2**20, threads=2)
"""

BEFORE_TORCH = """
import sys
from evenflow.kernels import team
from evenflow.random import Stream

before = Stream(0, "a").normal(2**20, threads=2)
assert "torch" not in sys.modules
import torch
assert (Stream(0, "a").normal(2**20, threads=2) == before).all()
assert team.torch_team() is not None
"""


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def step(shape):
    """Return what a step of training gives."""
    torch.manual_seed(0)
    layer = (BatchNorm1d if len(shape) == 2 else BatchNorm2d)(shape[1], activation="silu")
    x = torch.randn(shape, requires_grad=True)
    layer(x).square().sum().backward()
    return [x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the pool does it")
def test_torch_has_a_team_that_takes_loops_up():
    assert "OpenMP" in torch.__config__.parallel_info()
    assert team.torch_team() is not None


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_pool_stands_in_for_the_team_to_the_same_bits(monkeypatch, shape):
    taken = []
    share = pool.share
    monkeypatch.setattr(team, "share", lambda *args, **options: (taken.append(args), share(*args, **options)))
    by_team = step(shape)
    assert len(taken) == 0 or sys.platform != "linux"
    monkeypatch.setattr(team, "torch_team", lambda: None)
    by_pool = step(shape)
    assert taken
    assert all(map(torch.equal, by_team, by_pool))


@pytest.mark.usefixtures("two_threads")
def test_the_team_takes_up_every_task_once():
    """A channel that was missed or done twice would be seen in its sums."""
    x = torch.ones(64, 512, 4, 8)
    found = batch_norm.find_normalizer(0, False, False, "float32", x.numel())
    for threads in (1, 2, 7):
        y, moments = torch.full_like(x, np.nan), torch.full((2, 512), np.nan, dtype=torch.float64)
        scale, shift, mean, variance = torch.ones(512), torch.zeros(512), torch.zeros(512), torch.ones(512)
        batches = torch.tensor(3)
        work = found.forward(64, 512, 32, given=False, threads=threads)
        call = work.take()
        call.x = call.r = x.data_ptr()
        call.y, call.moments, call.eps = y.data_ptr(), moments.data_ptr(), 1.0
        call.weight, call.bias = scale.data_ptr(), shift.data_ptr()
        call.running_mean, call.running_var = mean.data_ptr(), variance.data_ptr()
        call.batches, call.momentum, call.correction = batches.data_ptr(), 0.25, 1.0
        work.do(call)
        assert (y == 0).all()
        assert (moments[0] == 1).all()
        assert (moments[1] == 0).all()
        assert (mean == 0.25).all()
        assert (variance == 0.75).all()
        assert batches == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the pool does it")
def test_draws_before_torch_is_loaded_are_no_reason_to_do_without_its_team():
    subprocess.run([sys.executable, "-c", BEFORE_TORCH], check=True)


@pytest.mark.usefixtures("two_threads")
def test_the_pool_stands_in_for_large_draws_too(monkeypatch):
    taken, share = [], pool.share
    monkeypatch.setattr(team, "share", lambda *args, **options: (taken.append(args), share(*args, **options)))
    by_team = Stream(0, "a").normal(2**20 + 1, threads=2)
    assert len(taken) == 0 or sys.platform != "linux"
    monkeypatch.setattr(team, "torch_team", lambda: None)
    assert np.array_equal(Stream(0, "a").normal(2**20 + 1, threads=2), by_team)
    assert taken


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("script", [FORK, FORK_BEFORE_THE_IMPORT], ids=["imported before", "imported after"])
def test_a_forked_child_does_not_wait_for_the_team_of_its_parent(script):
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def test_a_stand_in_for_torch_has_no_team():
    subprocess.run([sys.executable, "-c", STUB], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_a_process_knows_that_it_is_a_copy_until_it_runs_a_program():
    script = "from evenflow.kernels.team import _is_forked; import os; assert not _is_forked(); child = os.fork()"
    script += "\nif child == 0: os._exit(0 if _is_forked() else 1)\nassert os.waitpid(child, 0)[1] == 0"
    subprocess.run([sys.executable, "-c", script], check=True)
