"""Memory of outputs is used again, and only when nothing else uses it."""

import copy
import gc
import io
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.norm import BatchNorm2d, reuse

SHAPE = (64, 64, 16, 32)  # 8 MiB of float32
linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch's memory is used")


@pytest.fixture(autouse=True)
def nothing_lies_here(monkeypatch):
    gc.collect()
    monkeypatch.setattr(reuse, "_warm", [])
    monkeypatch.setattr(reuse, "_idle", [])


def lent(shape=SHAPE, **options):
    return reuse.empty_like(torch.empty(shape, **options))


@linux
def test_memory_that_nothing_uses_is_used_again():
    first = lent()
    address = first.data_ptr()
    del first
    assert lent().data_ptr() == address


@linux
@pytest.mark.parametrize(
    "hold",
    [
        lambda y: y[3],
        lambda y: y.detach(),
        lambda y: y.numpy(),
        lambda y: y.untyped_storage(),
        lambda y: y.view(torch.int32),
        lambda y: torch.from_numpy(y.numpy()),
        torch.utils.dlpack.to_dlpack,
        lambda y: y.requires_grad_().square().grad_fn,
    ],
)
def test_memory_that_something_uses_is_not(hold):
    y = lent()
    address, held = y.data_ptr(), hold(y)
    del y
    other = lent()
    assert other.data_ptr() != address
    del held
    assert lent().data_ptr() == address


def test_memory_that_is_shared_from_now_on_lies_elsewhere():
    y = lent().fill_(1)
    y.share_memory_()
    others = [lent().fill_(2) for _ in range(3)]
    assert y.is_shared()
    assert (y == 1).all()
    assert all((other == 2).all() for other in others)


@linux
def test_what_is_kept_of_a_step_never_changes():
    """A layer's output and gradient stay as they are while later steps write to what was freed."""
    layer = BatchNorm2d(64, activation="relu")
    x = torch.randn(SHAPE, requires_grad=True)
    kept = []
    for _ in range(6):
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x)
        kept.append((y, y.detach().clone(), gradient, gradient.clone()))
        if len(kept) > 2:
            kept.pop(1)
    assert all(torch.equal(y, then) and torch.equal(gradient, later) for y, then, gradient, later in kept)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([2**21, 2**21 + 1, 3 * 2**20])), min_size=1, max_size=25))
def test_no_two_tensors_share_memory(steps):
    live = {}
    for place, count in steps:
        live.pop(place, None)
        live[place] = reuse.empty_like(torch.empty(count)).fill_(place)
        assert all((tensor == number).all() for number, tensor in live.items())


def test_threads_never_get_the_same_memory():
    def work(number):
        for _ in range(20):
            y = lent().fill_(number)
            if not (y == number).all():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


@linux
def test_what_lies_here_has_an_end(monkeypatch):
    monkeypatch.setattr(reuse, "_WARM", 2**24)
    monkeypatch.setattr(reuse, "_MOST", 2**25)
    tensors = [lent() for _ in range(9)]
    addresses = [tensor.data_ptr() for tensor in tensors]
    while tensors:
        tensors.pop(0)
    assert sum(map(len, reuse._warm)) == 2**24
    assert sum(map(len, reuse._idle)) == 2**24
    # The last is taken first.
    held = [lent() for _ in range(4)]
    assert [tensor.data_ptr() for tensor in held] == addresses[:-5:-1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_shape_strides_and_dtype_are_those_of_the_other(dtype, layout):
    like = torch.empty((64, 64, 32, 32), dtype=dtype).to(memory_format=layout).requires_grad_()
    y = reuse.empty_like(like)
    assert (y.shape, y.stride(), y.dtype, y.device, y.is_leaf) == (like.shape, like.stride(), dtype, like.device, True)
    assert not y.requires_grad
    assert y._base is None
    assert y.data_ptr() % 64 == 0
    assert y.untyped_storage().nbytes() == like.nbytes


def test_small_tensors_are_torchs():
    assert lent((8, 8)).untyped_storage().resizable()


@pytest.mark.parametrize(("name", "value"), [("_HUGE", None), ("_FREE", None), ("_HUGE", 12345)])
def test_where_the_system_knows_no_such_memory_it_is_torchs(monkeypatch, name, value):
    monkeypatch.setattr(reuse, name, value)
    assert lent().untyped_storage().resizable()


def test_without_memory_for_a_block_torch_is_asked(monkeypatch):
    def refuse(*args, **options):
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr(reuse.mmap, "mmap", refuse)
    assert lent().untyped_storage().resizable()


def test_a_default_device_is_not_meant():
    like = torch.empty(SHAPE)
    with torch.device("meta"):
        y = reuse.empty_like(like)
    assert y.is_cpu


def test_outputs_are_copied_and_saved_as_any_others():
    layer = BatchNorm2d(64)
    y = layer(torch.randn(SHAPE)).detach()
    assert torch.equal(copy.deepcopy(y), y)
    file = io.BytesIO()
    torch.save(y, file)
    file.seek(0)
    assert torch.equal(torch.load(file), y)
    with torch.inference_mode():
        assert layer.eval()(torch.randn(SHAPE)).is_inference()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_child_has_memory_of_its_own():
    y = lent().fill_(1)
    del y
    child = os.fork()
    if child == 0:
        np.asarray(lent().numpy()).fill(2)
        os._exit(0)
    os.waitpid(child, 0)
    fresh = lent()
    assert not (fresh == 2).any()
