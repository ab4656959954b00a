"""The total norm against exact sums, over everything that overflows, underflows or is not a number."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.clip import get_total_norm
from evenflow.clip.gradients import gradients_in
from evenflow.clip.norms import norms
from evenflow.clip.norms import total_norm as norm_of_gradients
from evenflow.errors import (
    NonFiniteError,
    ParameterTypeError,
    ParameterValueError,
    TensorDtypeError,
)

FOREACH = [None, True, False]


def total_norm(tensors, p, foreach):
    return norm_of_gradients(gradients_in(tensors), p, foreach)


def exact_norm(tensors: list[torch.Tensor], p: float) -> float:
    """The norm by exact rational arithmetic for p = 1, 2; in extended precision for others."""
    magnitudes = [abs(x) for tensor in tensors for x in tensor.double().flatten().tolist()]
    if not magnitudes or max(magnitudes) == 0:
        return 0.0
    if math.isinf(p):
        return max(magnitudes)
    largest = Fraction(max(magnitudes))
    if p in {1.0, 2.0}:
        scaled = sum((Fraction(m) / largest) ** int(p) for m in magnitudes)
        return float(largest) * (float(scaled) if p == 1.0 else math.sqrt(scaled))
    scaled = np.asarray(magnitudes, dtype=np.longdouble) / np.longdouble(max(magnitudes))
    return float(np.longdouble(max(magnitudes)) * np.sum(scaled**p) ** (1 / np.longdouble(p)))


def numbers(width: int):
    """Ordinary, tiny, denormal, huge and zero numbers of a float type."""
    special = [0.0, -0.0, 1e-45, 1e-30, -1e-23, 1e20, 1e30, 3e38, 65504.0, 6e-8]
    special += [1e-320, 1e200, -1e300] if width == 64 else []
    representable = [float(np.dtype(f"float{width}").type(x)) for x in special if width != 16 or abs(x) < 65505]
    ordinary = st.floats(allow_nan=False, allow_infinity=False, width=width)
    return st.one_of(st.sampled_from(representable), ordinary)


@st.composite
def tensor_lists(draw):
    width = draw(st.sampled_from([16, 32, 64]))
    dtype = {16: torch.float16, 32: torch.float32, 64: torch.float64}[width]
    lists = draw(st.lists(st.lists(numbers(width), max_size=12), max_size=5))
    return [torch.tensor(values, dtype=dtype) for values in lists]


@settings(max_examples=400, deadline=None)
@given(
    tensors=tensor_lists(),
    p=st.sampled_from([2.0, 1.0, math.inf, 3.0, 0.5, 7.5]),
    foreach=st.sampled_from(FOREACH),
)
def test_agrees_with_exact_arithmetic(tensors, p, foreach):
    exact = exact_norm(tensors, p)
    ours = total_norm(tensors, p, foreach)
    if exact < np.finfo(np.float64).max / 1e3:
        # Below 1e-300 doubles themselves run out of digits.
        assert ours == pytest.approx(exact, rel=1e-13, abs=1e-310)


@settings(max_examples=100, deadline=None)
@given(
    tensors=tensor_lists().filter(lambda ts: any(t.numel() for t in ts)),
    bad=st.sampled_from([math.nan, math.inf, -math.inf]),
    p=st.sampled_from([2.0, 1.0, math.inf, 0.5]),
    foreach=st.sampled_from(FOREACH),
)
def test_is_finite_exactly_when_every_entry_is(tensors, bad, p, foreach):
    next(t for t in tensors if t.numel())[0] = bad
    norm = total_norm(tensors, p, foreach)
    assert math.isnan(norm) == math.isnan(bad)
    assert not math.isfinite(norm)


@pytest.mark.parametrize("foreach", FOREACH)
def test_peer_torch_float32_accumulation_is_low_at_50_million_elements(foreach):
    tensor = torch.full((2**25,), 0.1)
    exact = float(torch.tensor(0.1)) * 2**12.5
    assert total_norm([tensor], 2.0, foreach) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("foreach", FOREACH)
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1e20, torch.float32),
        (1e-30, torch.float32),
        (1e-45, torch.float32),
        (3e38, torch.float32),
        (65504.0, torch.float16),
        (6e-8, torch.float16),
        (3e38, torch.bfloat16),
        (1e200, torch.float64),
        (1e-200, torch.float64),
        (1e-320, torch.float64),
    ],
)
def test_peer_torch_large_gradients_overflow_the_norm(value, dtype, foreach):
    tensor = torch.full((10_000,), value, dtype=dtype)
    norm = get_total_norm([tensor], foreach=foreach)
    expected = 100 * tensor[0].double()
    torch.testing.assert_close(norm.double(), expected, rtol=1e-5 if value == 1e-45 else 1e-6, atol=0.0)
    assert norm.isfinite()


@pytest.mark.parametrize("foreach", FOREACH)
def test_layouts_dtypes_and_empties_are_one_vector(foreach):
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(3, 5, 7, generator=generator),
        torch.randn(4, 3, 6, 6, generator=generator).contiguous(memory_format=torch.channels_last),
        torch.randn(8, 9, generator=generator).t()[::2],
        torch.randn(1, 6, generator=generator).expand(4, 6),
        torch.randn(9000, generator=generator, dtype=torch.float64),
        torch.randn(70_000, generator=generator),
        torch.randn(50, generator=generator).bfloat16(),
        torch.randn(5000, generator=generator).half(),
        torch.randn(40, generator=generator, dtype=torch.complex64),
        torch.randn(40, generator=generator, dtype=torch.complex128).conj(),
        torch.tensor(2.5),
        torch.empty(0),
        torch.empty(3, 0),
    ]
    everything = torch.cat([t.abs().double().flatten() for t in tensors])
    tolerance = 1e-5 if foreach else 1e-7
    for p in (1.0, 2.0, 3.0, math.inf, 0.5):
        norm = get_total_norm(tensors, p, foreach=foreach)
        assert norm.dtype == torch.float64
        torch.testing.assert_close(norm, torch.linalg.vector_norm(everything, p), rtol=tolerance, atol=0.0)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_sparse_duplicates_are_added_before_the_norm():
    indices = torch.tensor([[0, 0, 2]])
    coo = torch.sparse_coo_tensor(indices, torch.tensor([1.0, 2.0, 4.0]), (5,), check_invariants=True)
    csr = torch.eye(4).to_sparse_csr()
    empty = torch.sparse_coo_tensor(torch.empty(1, 0, dtype=torch.int64), [], (5,), check_invariants=True)
    for p in (2.0, math.inf):
        dense = [coo.to_dense(), csr.to_dense()]
        torch.testing.assert_close(get_total_norm([coo, csr, empty], p), get_total_norm(dense, p))


def test_zero_tensors_give_zero_as_torch_does():
    assert torch.equal(get_total_norm([]), torch.tensor(0.0))
    assert torch.equal(get_total_norm([torch.zeros(5), torch.empty(0)]), torch.tensor(0.0))


def test_result_dtype_is_torchs_but_never_half_and_never_a_false_infinity():
    assert get_total_norm([torch.ones(2)]).dtype == torch.float32
    assert get_total_norm([torch.ones(2), torch.ones(2, dtype=torch.float64)]).dtype == torch.float64
    assert get_total_norm([torch.full((9,), 60_000.0).half()]) == pytest.approx(180_000, rel=1e-3)
    beyond = get_total_norm([torch.full((4,), 3e38)])
    assert beyond.dtype == torch.float64
    assert float(beyond) == pytest.approx(6e38)


def test_a_tensor_listed_twice_counts_twice_as_in_torch():
    tensor = torch.tensor([3.0, 4.0])
    torch.testing.assert_close(get_total_norm([tensor, tensor]), torch.nn.utils.get_total_norm([tensor, tensor]))


@pytest.mark.parametrize(
    "norm_type", [0, -1, -math.inf, math.nan, 0.0]
)  # torch counts the tensors for 0 and takes the smallest entry for -inf
def test_orders_that_are_no_norm_are_refused(norm_type):
    with pytest.raises(ParameterValueError, match="norm_type"):
        get_total_norm([torch.ones(2)], norm_type)


def test_infinity_may_be_spelled_out():
    assert get_total_norm([torch.tensor([1.0, -3.0])], "inf") == 3


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        (3, ParameterTypeError),
        ([3], ParameterTypeError),
        ([("name", 3)], ParameterTypeError),
        ([torch.ones(2, dtype=torch.int64)], TensorDtypeError),
        ([torch.ones(2, dtype=torch.bool)], TensorDtypeError),
        ([torch.ones(2, device="meta")], ParameterValueError),
    ],
)
def test_what_has_no_norm_is_named(tensors, error):
    with pytest.raises(error, match=r"got|is a|meta"):
        get_total_norm(tensors)


def test_error_if_nonfinite_names_the_tensor():
    with pytest.raises(NonFiniteError, match=r"1 of 2 gradients .*'b' of shape \(2,\) \(1 NaN, 0 infinite\)"):
        get_total_norm([("a", torch.ones(2)), ("b", torch.tensor([math.nan, 1.0]))], error_if_nonfinite=True)


def test_a_norm_beyond_float64_is_said_to_be_that():
    huge = torch.full((100,), 1.7e308, dtype=torch.float64)
    assert get_total_norm([huge]).isinf()
    with pytest.raises(NonFiniteError, match="beyond the range of float64"):
        get_total_norm([huge], error_if_nonfinite=True)


@pytest.mark.parametrize("p", [2.0, math.inf])
def test_foreach_chooses_the_kernels(p, operators_of):
    tensors = [torch.randn(10), torch.randn(5000)]
    assert "_foreach_norm" in operators_of(lambda: get_total_norm(tensors, p, foreach=True))
    without = operators_of(lambda: get_total_norm(tensors, p, foreach=False))
    assert not any(name.startswith("_foreach") for name in without)


def test_small_tensors_are_read_together(operators_of):
    tensors = [torch.ones(5) for _ in range(100)]
    assert len(operators_of(lambda: get_total_norm(tensors))) < 30


@pytest.mark.parametrize("foreach", FOREACH)
def test_largest_magnitudes_keep_the_order(foreach):
    vectors = [torch.tensor([1.0, -9.0]), torch.empty(0), torch.tensor([math.nan, 2.0]), torch.tensor([0.5])]
    largest = norms(gradients_in(vectors), math.inf, foreach).tolist()
    assert largest[:2] == [9.0, 0.0]
    assert math.isnan(largest[2])
    assert largest[3] == 0.5
