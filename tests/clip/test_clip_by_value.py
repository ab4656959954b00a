"""Clipping entry by entry: torch's numbers, and an answer for NaN."""

import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evenflow.clip import clip_grad_value_
from evenflow.errors import NonFiniteError, ParameterTypeError, ParameterValueError, TensorDtypeError

FOREACH = [None, True, False]
NAN, INF = math.nan, math.inf


def test_signature_begins_with_torchs():
    ours = list(inspect.signature(clip_grad_value_).parameters.values())
    theirs = list(inspect.signature(nn.utils.clip_grad_value_).parameters.values())
    for mine, torchs in zip(ours, theirs, strict=False):
        assert (mine.name, mine.kind, mine.default) == (torchs.name, torchs.kind, torchs.default)
    assert all(extra.kind is extra.KEYWORD_ONLY for extra in ours[len(theirs) :])


entries = st.one_of(st.floats(allow_nan=False, width=32), st.sampled_from([0.0, -0.0, 1e-45, 1e30, -3e38, INF, -INF]))


@settings(max_examples=200, deadline=None)
@given(
    gradients=st.lists(st.lists(entries, max_size=6), min_size=1, max_size=4),
    clip_value=st.one_of(st.floats(0, 1e30), st.just(INF)),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    foreach=st.sampled_from(FOREACH),
)
def test_equals_torch_wherever_there_is_no_nan(gradients, clip_value, dtype, foreach, with_gradients):
    clip_value = clip_value if math.isinf(clip_value) else min(clip_value, torch.finfo(dtype).max)
    tensors = [torch.tensor(values).to(dtype) for values in gradients]
    ours, torchs = with_gradients(*tensors), with_gradients(*tensors)
    clip_grad_value_(ours, clip_value, foreach)
    nn.utils.clip_grad_value_(torchs, clip_value, foreach)
    for mine, theirs in zip(ours, torchs, strict=True):
        assert torch.equal(mine.grad, theirs.grad)


@pytest.mark.parametrize("foreach", FOREACH)
def test_peer_torch_nan_passes(foreach, with_gradients):
    parameters = with_gradients(torch.tensor([NAN, 3.0, INF, -INF, -0.5]), torch.tensor([0.25]))
    clip_grad_value_(parameters, 1.0, foreach)
    assert torch.equal(parameters[0].grad, torch.tensor([0.0, 1.0, 1.0, -1.0, -0.5]))
    assert torch.equal(parameters[1].grad, torch.tensor([0.25]))


def test_leave_changes_nothing_when_there_is_a_nan(with_gradients):
    before = [torch.tensor([NAN, 3.0]), torch.tensor([7.0])]
    parameters = with_gradients(*before)
    clip_grad_value_(parameters, 1.0, nonfinite="leave")
    for parameter, gradient in zip(parameters, before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0, equal_nan=True)


def test_propagate_does_what_torch_does(with_gradients):
    parameters = with_gradients(torch.tensor([NAN, 3.0, -INF]))
    clip_grad_value_(parameters, 1.0, nonfinite="propagate")
    torch.testing.assert_close(parameters[0].grad, torch.tensor([NAN, 1.0, -1.0]), equal_nan=True)


@pytest.mark.parametrize("bad", [NAN, INF])
def test_raise_names_the_parameter_and_changes_nothing(bad):
    model = nn.Linear(2, 1)
    model.weight.grad, model.bias.grad = torch.tensor([[9.0, bad]]), torch.tensor([9.0])
    with pytest.raises(NonFiniteError, match=r"1 of 2 .*'weight' of shape \(1, 2\)"):
        clip_grad_value_(model, 1.0, nonfinite="raise")
    torch.testing.assert_close(model.weight.grad, torch.tensor([[9.0, bad]]), equal_nan=True)
    assert model.bias.grad == 9.0


@pytest.mark.parametrize("clip_value", [-1.0, -INF, NAN])
def test_peer_torch_negative_value_sets_everything_to_it(clip_value, with_gradients):
    parameters = with_gradients(torch.tensor([3.0]))
    with pytest.raises(ParameterValueError, match="clip_value"):
        clip_grad_value_(parameters, clip_value)
    assert parameters[0].grad == 3.0


@pytest.mark.parametrize("foreach", FOREACH)
def test_peer_torch_fails_when_the_value_is_beyond_the_dtype(foreach, with_gradients):
    parameters = with_gradients(torch.tensor([INF, -3.0]).half(), torch.tensor([-INF]))
    clip_grad_value_(parameters, 1e300, foreach)
    assert parameters[0].grad.tolist() == [65504.0, -3.0]
    assert parameters[1].grad.item() == -torch.finfo(torch.float32).max


@pytest.mark.parametrize("foreach", FOREACH)
def test_gradients_within_the_interval_are_not_written_to(foreach, with_gradients):
    inside, outside = with_gradients(torch.tensor([1.0, -1.0]), torch.tensor([1.5]))
    versions = inside.grad._version, outside.grad._version
    clip_grad_value_([inside, outside], 1.0, foreach)
    assert inside.grad._version == versions[0]
    assert outside.grad._version > versions[1]


def test_complex_gradients_are_refused_before_anything_changes(with_gradients):
    real, imaginary = with_gradients(torch.tensor([9.0]), torch.tensor([9j]))
    with pytest.raises(TensorDtypeError, match=r"tensor 1 of shape \(1,\) is complex"):
        clip_grad_value_([real, imaginary], 1.0)
    assert real.grad == 9.0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [((3, 1.0), ParameterTypeError), (([], "1"), ParameterTypeError), (([], None), ParameterTypeError)],
)
def test_wrong_types_are_named(arguments, error):
    with pytest.raises(error, match=r"parameters|clip_value"):
        clip_grad_value_(*arguments)


def test_an_unknown_word_is_refused():
    with pytest.raises(ParameterValueError, match="nonfinite"):
        clip_grad_value_([], 1.0, nonfinite="ignore")


def test_sparse_duplicates_are_added_before_clipping():
    embedding = nn.Embedding(4, 2, sparse=True)
    (10 * embedding(torch.tensor([1, 1, 3]))).sum().backward()
    gradient = embedding.weight.grad
    clip_grad_value_(embedding, 15.0)
    assert embedding.weight.grad is gradient
    assert torch.equal(gradient.to_dense(), torch.tensor([[0.0, 0], [15, 15], [0, 0], [10, 10]]))


def test_non_contiguous_and_empty_gradients(with_gradients):
    base = torch.arange(12.0).reshape(3, 4)
    parameters = with_gradients(torch.zeros(4, 3), torch.empty(0))
    parameters[0].grad = base.t()
    clip_grad_value_(parameters, 5.0)
    assert torch.equal(base, torch.arange(12.0).reshape(3, 4).clamp(max=5))


@pytest.mark.parametrize(("foreach", "operator"), [(True, "_foreach_clamp_min_"), (False, "clamp_")])
def test_foreach_chooses_the_kernels(foreach, operator, operators_of, with_gradients):
    parameters = with_gradients(torch.tensor([9.0]), torch.tensor([-9.0]))
    names = operators_of(lambda: clip_grad_value_(parameters, 1.0, foreach))
    assert operator in names
    assert any(name.startswith("_foreach") for name in names) == foreach
