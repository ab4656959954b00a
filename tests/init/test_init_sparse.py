import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import evenflow as ef
from evenflow.errors import ParameterTypeError, ParameterValueError, TensorShapeError
from evenflow.random import Stream


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.floats(0, 1))
def test_each_column_has_exactly_its_share_of_zeros(rows, columns, sparsity):
    weight = ef.init.sparse_(torch.zeros(rows, columns), sparsity, stream=Stream(0, "s"))
    assert (weight == 0).sum(0).tolist() == [math.ceil(sparsity * rows)] * columns


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.complex64])
def test_every_dtype_has_the_pattern(dtype):
    weight = ef.init.sparse_(torch.zeros(10, 7, dtype=dtype), 0.25, std=1.0, stream=Stream(0, "s"))
    assert (weight == 0).sum(0).tolist() == [3] * 7


def test_every_place_is_as_likely_to_be_zero():
    count, rows = 2000, 8
    zeros = sum((ef.init.sparse_(torch.zeros(rows, 3), 0.5, stream=Stream(s, "s")) == 0).double() for s in range(count))
    # 5 sigma of a fair coin thrown 2000 times.
    assert (zeros / count - 0.5).abs().max().item() < 2.5 / math.sqrt(count)


def test_columns_have_patterns_of_their_own():
    weight = ef.init.sparse_(torch.zeros(32, 50), 0.5, stream=Stream(0, "s"))
    assert len(set(map(tuple, (weight == 0).T.tolist()))) == 50


def test_what_is_not_zero_is_normal_and_not_chosen_by_size():
    weight = ef.init.sparse_(torch.zeros(1000, 100), 0.9, std=0.5, stream=Stream(0, "s")).double()
    kept = weight[weight != 0]
    assert len(kept) == 10_000
    # 5 sigma of the relative variance; 5 sigma of the mean.
    assert abs(kept.square().mean().item() / 0.25 - 1) < 5 * math.sqrt(2 / len(kept))
    assert abs(kept.mean().item()) < 5 * 0.5 / math.sqrt(len(kept))


def test_the_draws_are_those_of_normal_():
    dense = ef.init.normal_(torch.zeros(9, 5), std=0.01, stream=Stream(0, "s"))
    sparse = ef.init.sparse_(torch.zeros(9, 5), 0.4, stream=Stream(0, "s"))
    assert torch.equal(sparse[sparse != 0], dense[sparse != 0])


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, math.nan])
def test_sparsity_is_a_share(sparsity):
    with pytest.raises(ParameterValueError, match=r"sparsity must be a finite number in \[0, 1\]"):
        ef.init.sparse_(torch.zeros(3, 3), sparsity)


@pytest.mark.parametrize("std", [-0.1, math.inf, math.nan])
def test_std_is_finite_and_not_negative(std):
    with pytest.raises(ParameterValueError, match="std"):
        ef.init.sparse_(torch.zeros(3, 3), 0.5, std)


def test_sparsity_is_a_number():
    with pytest.raises(ParameterTypeError, match="sparsity"):
        ef.init.sparse_(torch.zeros(3, 3), "half")


@pytest.mark.parametrize("shape", [(3,), (3, 3, 3)])
def test_only_matrices_are_sparse(shape):
    with pytest.raises(TensorShapeError, match="sparse_ needs a tensor of 2 dimensions"):
        ef.init.sparse_(torch.zeros(shape), 0.5)
