"""Large tensors: drawn into their own memory where that can be, in pieces elsewhere, and autograd knows."""

import tracemalloc

import pytest
import torch
from torch import nn

from evenflow import init
from evenflow.init import fill
from evenflow.random import Stream

RULES = ["uniform_", "normal_", "trunc_normal_"]
COUNT = 2**20 + 3


def filled(name, tensor):
    return getattr(init, name)(tensor, stream=Stream(0, "weight"))


@pytest.fixture(scope="module", params=RULES)
def rule(request):
    return request.param, filled(request.param, torch.zeros(COUNT))


def test_the_draws_are_the_streams(rule):
    name, expected = rule
    kind = {"uniform_": "uniform", "normal_": "normal", "trunc_normal_": "truncated_normal"}[name]
    assert torch.equal(expected, torch.from_numpy(getattr(Stream(0, "weight"), kind)(COUNT)))


def test_strides_and_dtypes_do_not_show(rule):
    name, expected = rule
    assert torch.equal(filled(name, torch.zeros(COUNT, 2)[:, 1]), expected)
    assert torch.equal(filled(name, torch.zeros(COUNT, dtype=torch.float64)).float(), expected)


def test_the_number_of_threads_does_not_show(rule):
    name, expected = rule
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(filled(name, torch.zeros(COUNT)), expected)
        assert torch.equal(filled(name, torch.zeros(COUNT, 2)[:, 1]), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["uniform_", "normal_"])
def test_a_float32_tensor_needs_no_memory_beside_it(name):
    target = torch.zeros(COUNT)
    filled(name, target)
    tracemalloc.start()
    filled(name, target)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**16 < target.nbytes


@pytest.mark.parametrize("name", RULES)
def test_autograd_counts_the_change(name):
    weight = nn.Parameter(torch.ones(5))
    loss = (weight * weight).sum()
    filled(name, weight)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("name", RULES)
def test_an_inference_tensor_is_refused_outside_inference_mode_and_left_alone(name):
    with torch.inference_mode():
        target = torch.zeros(5)
    with pytest.raises(RuntimeError, match="Inplace update to inference tensor"):
        filled(name, target)
    assert not target.any()
    with torch.inference_mode():
        assert filled(name, target).all()


@pytest.mark.parametrize("name", RULES)
def test_a_tensor_that_numpy_cannot_reach_gets_the_same_draws(name):
    negated = torch.zeros(5, dtype=torch.complex64).conj().imag
    assert negated.is_neg()
    expected = filled(name, torch.zeros(5))
    assert torch.equal(filled(name, negated), expected)
    mapped = torch.func.vmap(lambda row: filled(name, row))(torch.zeros(2, 5))
    assert torch.equal(mapped, expected.expand(2, 5))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("drawn", [1, 7, 10**6])
def test_the_sizes_of_the_pieces_do_not_show(monkeypatch, drawn, alone):
    expected = filled("normal_", torch.zeros(6, 5, 4))
    monkeypatch.setattr(fill, "_DRAWN", drawn)
    if alone:
        monkeypatch.setattr(fill, "_ALONE", 3)
        monkeypatch.setattr(fill, "torch_team", lambda: None)
    assert torch.equal(filled("normal_", torch.zeros(4, 5, 6).permute(2, 1, 0)), expected)
    assert torch.equal(filled("normal_", torch.zeros(6, 5, 4, dtype=torch.float64)).float(), expected)


@pytest.mark.parametrize("name", RULES)
def test_memory_can_be_resized_afterwards_as_sharding_does(name):
    target = filled(name, torch.zeros(6))
    target.untyped_storage().resize_(0)
    assert target.untyped_storage().nbytes() == 0


def test_memory_that_is_not_aligned(rule):
    name, expected = rule
    target = torch.frombuffer(bytearray(4 * 10 + 1), dtype=torch.float32, offset=1)
    assert torch.equal(filled(name, target), expected[:10])
