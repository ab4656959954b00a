import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import nn

from evenflow.probe.parameters import parameter_record
from evenflow.probe.rows import GLANCE, distinct_rows, distinct_up_to_rounding

NAN, INF = math.nan, math.inf


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def twin(matrix: torch.Tensor) -> int:
    """Rows as tuples in a set, NaN and infinity as zero; -0 equals 0 as tuples compare."""
    rows = np.nan_to_num(matrix.flatten(1).numpy(), nan=0.0, posinf=0.0, neginf=0.0)
    return len({tuple(row) for row in rows.tolist()})


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=4),
                  elements=st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, NAN, INF])))  # fmt: skip
def test_distinct_rows_are_those_of_a_set(array):
    assert distinct_rows(torch.tensor(array)) == twin(torch.tensor(array))


@pytest.mark.parametrize("width", [1, GLANCE, GLANCE + 1, 500])
@pytest.mark.parametrize("count", [distinct_rows, distinct_up_to_rounding])
def test_a_thousand_random_rows_are_a_thousand(count, width):
    # In a single column, half a million pairs of normals are closer than 8e-6 of the largest (3.3) 7 times, give or
    # take 2.7; and equal to the bit 0.1 times. Five sigma are allowed.
    allowed = 0 if width > 1 else 21
    assert 1000 - allowed <= count(drawn(1000, width)) <= 1000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_random_rows_of_every_dtype_are_distinct_up_to_its_rounding(dtype):
    assert distinct_up_to_rounding(drawn(300, 100).to(dtype)) == 300
    assert distinct_rows(drawn(300, 100).to(dtype)) == 300


@pytest.mark.parametrize("count", [distinct_rows, distinct_up_to_rounding])
@pytest.mark.parametrize("rows", [drawn(1, 200).expand(50, 200), torch.zeros(50, 20), torch.full((50, 20), 0.1)])
def test_equal_rows_are_one(count, rows):
    assert count(rows) == 1


@pytest.mark.parametrize("count", [distinct_rows, distinct_up_to_rounding])
def test_repeated_rows_are_counted_once_wherever_they_lie(count):
    kinds = drawn(7, 300)
    order = torch.randint(7, (400,), generator=torch.Generator().manual_seed(1))
    assert count(kinds[order]) == 7


@pytest.mark.parametrize("count", [distinct_rows, distinct_up_to_rounding])
def test_rows_that_begin_alike_are_told_apart_by_their_end(count):
    matrix = torch.zeros(100, 5 * GLANCE)
    matrix[:, -1] = torch.arange(100.0)
    assert count(matrix) == 100


def test_one_bit_makes_a_row_distinct_but_not_up_to_rounding():
    rows = drawn(1, 100).repeat(2, 1)
    rows[1, 50] = torch.nextafter(rows[1, 50], torch.tensor(INF))
    assert distinct_rows(rows) == 2
    assert distinct_up_to_rounding(rows) == 1


def test_equal_units_get_equal_gradients_up_to_the_order_of_summation():
    """A layer of equal units over many samples: the gradient rows agree mathematically, and only nearly in float32."""
    x, delta = drawn(4096, 64), drawn(4096, 1, seed=1)
    orders = [torch.randperm(4096, generator=torch.Generator().manual_seed(seed)) for seed in range(20)]
    rows = torch.stack([delta[order, 0] @ x[order] for order in orders])
    assert distinct_rows(rows) > 1
    assert distinct_up_to_rounding(rows) == 1


def test_a_difference_far_above_rounding_is_seen():
    rows = drawn(1, 100).repeat(2, 1)
    rows[1, 3] += 1e-4
    assert distinct_up_to_rounding(rows) == 2


@pytest.mark.parametrize("count", [distinct_rows, distinct_up_to_rounding])
@pytest.mark.parametrize(("shape", "expected"), [((0, 3), 0), ((3, 0), 1), ((0, 0), 0)])
def test_matrices_without_values(count, shape, expected):
    assert count(torch.zeros(shape)) == expected


@pytest.mark.parametrize("scale", [1e-38, 1e38])
def test_the_scale_of_a_gradient_does_not_matter(scale):
    rows = drawn(30, 20).clamp(-3, 3) * scale
    assert distinct_up_to_rounding(rows) == 30
    assert distinct_up_to_rounding(rows[:1].expand(30, 20)) == 1


# The record of a parameter


def test_a_matrix_and_its_gradient():
    weight = nn.Parameter(drawn(4, 3))
    gradient = drawn(1, 3).expand(4, 3)
    record = parameter_record("fc.weight", weight, gradient)
    assert (record.name, record.shape, record.trainable) == ("fc.weight", (4, 3), True)
    assert record.norm == pytest.approx(weight.norm().item())
    assert record.rms == pytest.approx(weight.square().mean().sqrt().item())
    assert record.grad_norm == pytest.approx(float(gradient.norm()))
    assert (record.rows, record.distinct_rows, record.grad_distinct_rows) == (4, 4, 1)
    assert (record.nonfinite, record.grad_nonfinite) == (0, 0)


def test_a_vector_has_no_rows():
    record = parameter_record("bias", nn.Parameter(torch.ones(3)), torch.ones(3))
    assert (record.rows, record.distinct_rows, record.grad_distinct_rows) == (None, None, None)


def test_a_parameter_without_gradient():
    record = parameter_record("w", nn.Parameter(torch.ones(2, 2), requires_grad=False), None)
    assert (record.trainable, record.grad_norm, record.grad_nonfinite, record.grad_distinct_rows) == (
        False,
        None,
        0,
        None,
    )


def test_a_norm_leaves_out_what_is_not_finite():
    values = torch.tensor([[3.0, NAN], [INF, 4.0]])
    record = parameter_record("w", nn.Parameter(values), values.clone())
    assert (record.norm, record.nonfinite) == (pytest.approx(5.0), 2)
    assert (record.grad_norm, record.grad_nonfinite) == (pytest.approx(5.0), 2)


def test_the_norm_of_a_complex_parameter():
    record = parameter_record("w", nn.Parameter(torch.tensor([[3 + 4j, 0j]])), None)
    assert record.norm == pytest.approx(5.0)


def test_a_sparse_gradient():
    embedding = nn.Embedding(10, 4, sparse=True)
    embedding(torch.tensor([1, 1, 3])).sum().backward()
    record = parameter_record("weight", embedding.weight, embedding.weight.grad)
    assert record.grad_norm == pytest.approx(math.sqrt(4 * (2**2 + 1)))
    assert record.grad_distinct_rows == 3
