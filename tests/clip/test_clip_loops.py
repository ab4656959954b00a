"""Many or large gradients go through one compiled loop, with the numbers of torch's way."""

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from evenflow import kernels
from evenflow.clip import clip_grad_norm_, clip_grad_value_, get_total_norm
from evenflow.clip.gradients import gradients_in, gradients_of
from evenflow.clip.memory import blocks
from evenflow.clip.norms import norms


def many(count=600, size=9, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    real = dtype.to_real()
    made = [torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(count)]
    return [(part.to(real) + 1j * part.flip(0).to(real) if dtype.is_complex else part).to(dtype) for part in made]


def mixed():
    """Gradients of every kind that the loops take and do not take, enough of them to load the loops."""
    channels_last = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    sparse = torch.sparse_coo_tensor([[1, 1, 3]], torch.ones(3, 2), (4, 2), check_invariants=True)
    views = [torch.randn(6, 4).t(), torch.randn(10)[::2], torch.randn(1, 3).expand(5, 3), torch.randn(3, 0)]
    odd = [torch.randn(7).half(), torch.randn(7).bfloat16(), torch.complex(*torch.randn(2, 5)).conj().imag]
    return [*many(), *many(20, 3, torch.float64), *many(20, 3, torch.complex64), channels_last, sparse, *views, *odd,
            torch._efficientzerotensor(3), torch.tensor(2.0), nn.Parameter(torch.randn(4))]  # fmt: skip


@pytest.fixture
def without_loops(monkeypatch):
    """Run a call in torch's way."""

    def run(call):
        with monkeypatch.context() as patch:
            patch.setattr(kernels, "worth_loading", lambda tensors, numbers: False)
            return call()

    return run


def of_reference(tensor, p):
    dense = tensor.to_dense() if tensor.layout != torch.strided else tensor.detach()
    return float(torch.linalg.vector_norm(dense.resolve_neg().to(torch.complex128).abs(), p)) if dense.numel() else 0.0


@pytest.mark.parametrize("p", [2.0, 1.0, math.inf, 3.0])
@pytest.mark.parametrize("foreach", [None, False])
@pytest.mark.parametrize("loops", [True, False])
def test_every_kind_of_gradient_has_the_norm_of_the_reference(p, foreach, loops, without_loops):
    tensors = mixed()

    def measure():
        with torch.no_grad():
            return norms(gradients_in(tensors), p, foreach)

    found = measure() if loops else without_loops(measure)
    assert found.tolist() == pytest.approx([of_reference(tensor, p) for tensor in tensors], rel=1e-12)


def test_the_loops_take_what_lies_unbroken_in_memory():
    tensors = mixed()
    found, rest = blocks(gradients_in(tensors), complex_too=True)
    taken = {int(place) for block in found for place in block.places}
    assert sorted(taken | set(rest)) == list(range(len(tensors)))
    assert not taken & set(rest)
    assert taken >= set(range(641))  # the plain ones, and what is channels-last
    assert all(tensors[place].layout == torch.strided for place in taken)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.complex128])
def test_scaling_has_the_digits_of_torchs_way(dtype, with_gradients, without_loops):
    loops, torchs = with_gradients(*many(dtype=dtype)), with_gradients(*many(dtype=dtype))
    versions = [parameter.grad._version for parameter in loops]
    clip_grad_norm_(loops, 0.3)
    without_loops(lambda: clip_grad_norm_(torchs, 0.3))
    for mine, theirs, version in zip(loops, torchs, versions, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=2 * torch.finfo(dtype).eps, atol=0)
        assert mine.grad._version > version


def test_kinds_that_are_mixed_are_clipped_together(with_gradients):
    gradients = [g for g in mixed() if g.layout == torch.strided and 0 not in g.stride() and g.numel()]
    parameters = with_gradients(*gradients)
    norm = float(clip_grad_norm_(parameters, 1.0))
    for parameter, gradient in zip(parameters, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient / norm, rtol=1e-2 if gradient.dtype.itemsize == 2 else 1e-5,
                                   atol=1e-7)  # fmt: skip
    assert float(get_total_norm([p.grad for p in parameters])) == pytest.approx(1.0, rel=1e-3)


def test_nothing_is_written_when_nothing_is_clipped(with_gradients):
    parameters = with_gradients(*many())
    versions = [parameter.grad._version for parameter in parameters]
    clip_grad_norm_(parameters, 1e9)
    clip_grad_value_(parameters, 1e9)
    assert [parameter.grad._version for parameter in parameters] == versions


def test_a_write_after_a_forward_pass_that_needs_the_old_values_is_noticed():
    gradients = [torch.ones(9) for _ in range(600)]
    needed = gradients[3].requires_grad_()
    result = (needed * needed).sum()
    parameters = [nn.Parameter(torch.zeros(9)) for _ in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    clip_grad_norm_(parameters, 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        result.backward()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_seen(bad, with_gradients):
    parameters = with_gradients(*many())
    parameters[555].grad[3] = bad
    norm = float(clip_grad_norm_(parameters, 1.0))
    assert math.isnan(norm) == math.isnan(bad)
    assert not math.isfinite(norm)
    found = norms(gradients_of(parameters), 2.0, None)
    assert [place for place, norm in enumerate(found) if not math.isfinite(norm)] == [555]


def test_a_compiled_step_clips_too():
    layers = [nn.Linear(3, 3) for _ in range(300)]
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    expected = math.sqrt(sum(parameter.numel() for parameter in parameters))

    @torch.compile(backend="eager")
    def step():
        return clip_grad_norm_(parameters, 1.0) * 2

    assert float(step()) == pytest.approx(2 * expected)
    assert float(get_total_norm([parameter.grad for parameter in parameters])) == pytest.approx(1.0, rel=1e-5)


def test_few_small_gradients_never_load_numba():
    code = """
import sys, torch, evenflow as ef
p = [torch.nn.Parameter(torch.ones(1000)) for _ in range(100)]
for q in p: q.grad = torch.ones(1000)
ef.clip.clip_grad_norm_(p, 1.0)
print("numba" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
    assert kernels.worth_loading(tensors=600, numbers=600)
