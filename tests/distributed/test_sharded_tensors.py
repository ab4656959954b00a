"""Every initialiser gives a sharded tensor the values that it gives a whole one, and draws no more than it keeps."""

from functools import cache
from hashlib import sha256

import pytest
import torch
from ranks.layouts import LAYOUTS
from ranks.rules import DTYPES, LARGE, RULES, in_one_process

PLACES = [(world, layout) for world, layouts in LAYOUTS.items() for layout in layouts]


@cache
def expected(rule, dtype="float32"):
    return in_one_process(rule, DTYPES[dtype])


@cache
def expected_digest(rule):
    return sha256(in_one_process(rule).numpy().tobytes()).hexdigest()


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(torch.uint8), b.view(torch.uint8))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("world", "layout"), PLACES)
def test_the_gathered_tensor_is_the_one_of_a_single_process(ranks_of, world, layout, rule):
    for rank in ranks_of(world):
        assert same_bits(rank["small"][layout, rule]["whole"], expected(rule))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("world", "layout"), PLACES)
def test_also_in_every_dtype(ranks_of, world, layout, dtype):
    for rank in ranks_of(world):
        assert same_bits(rank["small"][layout, dtype]["whole"], expected("normal", dtype))


@pytest.mark.parametrize("rule", [rule for rule, (*_, own) in RULES.items() if own])
@pytest.mark.parametrize(("world", "layout"), PLACES)
def test_a_process_draws_the_elements_that_it_holds_and_no_others(ranks_of, world, layout, rule):
    for rank in ranks_of(world):
        assert rank["small"][layout, rule]["asked"] == rank["small"][layout, rule]["held"]


def test_together_the_processes_hold_the_tensor_once(ranks_of):
    held = [rank["small"]["rows", "normal"]["held"] for rank in ranks_of(4)]
    assert held == [10, 10, 10, 5]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("rule", LARGE)
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_kernels_and_threads_do_not_show(ranks_of, layout, rule, threads):
    for rank in ranks_of(2):
        assert rank["large"][layout, rule, threads] == expected_digest(rule)
