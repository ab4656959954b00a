"""Clipping by the global norm: what torch does where torch is right, and what it should do elsewhere."""

import importlib
import inspect
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from evenflow.clip import clip_grad_norm_, clip_grads_with_norm_, get_total_norm
from evenflow.errors import NonFiniteError, ParameterTypeError, ParameterValueError, TensorDtypeError

FOREACH = [None, True, False]
NAN, INF = math.nan, math.inf


def random_gradients(scale: float = 1.0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5,), (2, 3, 3, 3), (), (5000,)]
    return [scale * torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def assert_untouched(parameters: list[nn.Parameter], before: list[Tensor], versions: list[int]) -> None:
    for parameter, gradient, version in zip(parameters, before, versions, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0, equal_nan=True)
        assert parameter.grad._version == version


@pytest.mark.parametrize("ours", [clip_grad_norm_, get_total_norm, clip_grads_with_norm_])
def test_signatures_begin_with_torchs(ours):
    theirs = list(inspect.signature(getattr(nn.utils, ours.__name__)).parameters.values())
    ours = list(inspect.signature(ours).parameters.values())
    for mine, torchs in zip(ours, theirs, strict=False):
        assert (mine.name, mine.kind, mine.default) == (torchs.name, torchs.kind, torchs.default)
    assert all(extra.kind is extra.KEYWORD_ONLY for extra in ours[len(theirs) :])


@pytest.mark.parametrize("foreach", FOREACH)
@pytest.mark.parametrize("norm_type", [2.0, 1.0, INF, 3.0, 0.5])
@pytest.mark.parametrize("max_norm", [0.0, 0.1, 5.0, 1e9])
def test_torch_exact_is_torch(max_norm, norm_type, foreach, with_gradients):
    ours, torchs = with_gradients(*random_gradients()), with_gradients(*random_gradients())
    norm = clip_grad_norm_(ours, max_norm, norm_type, foreach=foreach, torch_exact=True)
    expected = nn.utils.clip_grad_norm_(torchs, max_norm, norm_type, foreach=foreach)
    torch.testing.assert_close(norm, expected, rtol=1e-5, atol=0.0)
    for mine, theirs in zip(ours, torchs, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-5, atol=0.0)


def test_torch_exact_falls_short_by_what_torch_adds(with_gradients):
    exact, short = with_gradients(torch.tensor([1e-6])), with_gradients(torch.tensor([1e-6]))
    clip_grad_norm_(exact, 1e-7)
    clip_grad_norm_(short, 1e-7, torch_exact=True)
    assert exact[0].grad.item() == pytest.approx(1e-7, rel=1e-6)
    assert short[0].grad.item() == pytest.approx(0.5e-7, rel=1e-6)


finite32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
entries = st.one_of(finite32, st.sampled_from([0.0, 1e30, -1e30, 3e38, 1e-30, 1e-45]))


@settings(max_examples=300, deadline=None)
@given(
    gradients=st.lists(st.lists(entries, min_size=1, max_size=8), min_size=1, max_size=4),
    fraction=st.floats(1e-3, 1.0),
    norm_type=st.sampled_from([2.0, 1.0, INF]),
    foreach=st.sampled_from(FOREACH),
)
def test_clipped_norm_is_max_norm_and_direction_is_kept(gradients, fraction, norm_type, foreach, with_gradients):
    before = [torch.tensor(values) for values in gradients]
    norm = float(get_total_norm(before, norm_type))
    max_norm = fraction * norm
    parameters = with_gradients(*before)
    returned = clip_grad_norm_(parameters, max_norm, norm_type, foreach=foreach)
    assert float(returned) == pytest.approx(norm, rel=1e-6)
    if max_norm > 1e-30:  # below, float32 has no digits left for the entries
        after = [parameter.grad for parameter in parameters]
        assert float(get_total_norm(after, norm_type)) == pytest.approx(max_norm, rel=1e-6)
        for gradient, clipped in zip(before, after, strict=True):
            expected = gradient.double() * fraction
            torch.testing.assert_close(clipped.double(), expected, rtol=1e-5, atol=1e-6 * max_norm)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64])
@pytest.mark.parametrize("foreach", FOREACH)
def test_every_dtype_reaches_max_norm(dtype, foreach, with_gradients):
    parameters = with_gradients(*random_gradients(10.0, dtype))
    before = [parameter.grad for parameter in parameters]
    clip_grad_norm_(parameters, 1.0, foreach=foreach)
    rounding = torch.finfo(dtype).eps
    assert float(get_total_norm(before)) == pytest.approx(1.0, rel=max(rounding, 1e-6))
    assert all(parameter.grad is gradient for parameter, gradient in zip(parameters, before, strict=True))


@pytest.mark.parametrize("value", [1e20, 3e38, 1e-30])
def test_peer_torch_overflowing_norm_zeroes_the_gradients(value, with_gradients):
    parameters = with_gradients(torch.full((100,), value), torch.full((44,), -value))
    norm = clip_grad_norm_(parameters, value / 1e3)
    assert float(norm) == pytest.approx(12 * value, rel=1e-6)
    after = torch.cat([parameter.grad for parameter in parameters])
    torch.testing.assert_close(after.abs().double(), torch.full((144,), value / 12e3).double())


def test_a_factor_too_small_for_float32_is_applied_in_steps(with_gradients):
    parameters = with_gradients(torch.full((4,), 3e38))
    clip_grad_norm_(parameters, 3.0)
    torch.testing.assert_close(parameters[0].grad, torch.full((4,), 1.5))
    parameters = with_gradients(torch.full((4,), 1e300, dtype=torch.float64))
    clip_grad_norm_(parameters, 1e-10)
    torch.testing.assert_close(parameters[0].grad, torch.full((4,), 5e-11, dtype=torch.float64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("foreach", FOREACH)
@pytest.mark.parametrize("max_norm", [1e9, INF])
def test_peer_torch_rewrites_gradients_when_nothing_is_clipped(foreach, max_norm, with_gradients):
    parameters = with_gradients(*random_gradients())
    before = [parameter.grad.clone() for parameter in parameters]
    versions = [parameter.grad._version for parameter in parameters]
    clip_grad_norm_(parameters, max_norm, foreach=foreach)
    assert_untouched(parameters, before, versions)


def test_peer_torch_parameter_listed_twice_is_scaled_twice(with_gradients):
    (parameter,) = with_gradients(torch.tensor([3.0, 4.0]))
    assert clip_grad_norm_([parameter, parameter], 1.0) == 5.0
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("max_norm", [-1.0, NAN, -INF])
def test_peer_torch_negative_max_norm_flips_every_gradient(max_norm, with_gradients):
    parameters = with_gradients(torch.tensor([3.0, 4.0]))
    with pytest.raises(ParameterValueError, match="max_norm"):
        clip_grad_norm_(parameters, max_norm)
    with pytest.raises(ParameterValueError, match="max_norm"):
        clip_grads_with_norm_(parameters, max_norm, torch.tensor(5.0))
    assert torch.equal(parameters[0].grad, torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("foreach", FOREACH)
def test_peer_torch_one_nan_makes_all_nan_and_one_infinity_zeroes_the_rest(bad, foreach, with_gradients):
    before = [torch.tensor([3.0, bad]), torch.tensor([4.0])]
    parameters = with_gradients(*before)
    versions = [parameter.grad._version for parameter in parameters]
    norm = clip_grad_norm_(parameters, 1.0, foreach=foreach)
    assert not norm.isfinite()
    assert_untouched(parameters, before, versions)


def test_zero_drops_bad_entries_and_clips_the_rest_by_its_own_norm(with_gradients):
    parameters = with_gradients(torch.tensor([3.0, NAN, INF]), torch.tensor([4.0]), torch.tensor([-INF]))
    assert clip_grad_norm_(parameters, 1.0, nonfinite="zero") == 5.0
    expected = [torch.tensor([0.6, 0.0, 0.0]), torch.tensor([0.8]), torch.tensor([0.0])]
    for parameter, gradient in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_zero_drops_a_complex_entry_whole(with_gradients):
    (parameter,) = with_gradients(torch.tensor([complex(3, NAN), complex(0, 4)]))
    clip_grad_norm_([parameter], 10.0, nonfinite="zero")
    assert torch.equal(parameter.grad, torch.tensor([0j, 4j]))


@pytest.mark.parametrize("bad", [NAN, INF])
def test_propagate_does_what_torch_does(bad, with_gradients):
    gradients = torch.tensor([3.0, bad]), torch.tensor([4.0])
    ours, torchs = with_gradients(*gradients), with_gradients(*gradients)
    norm = clip_grad_norm_(ours, 1.0, nonfinite="propagate")
    torch.testing.assert_close(norm, nn.utils.clip_grad_norm_(torchs, 1.0), equal_nan=True)
    for mine, theirs in zip(ours, torchs, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, equal_nan=True)


@pytest.mark.parametrize("options", [{"error_if_nonfinite": True}, {"nonfinite": "raise"}])
def test_raise_names_the_parameter_of_a_model_and_changes_nothing(options):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model[1].weight.grad[0, 1:] = torch.tensor([NAN, INF])
    before = [parameter.grad.clone() for parameter in model.parameters()]
    versions = [parameter.grad._version for parameter in model.parameters()]
    message = r"1 of 4 gradients are not finite: '1\.weight' of shape \(1, 3\) \(1 NaN, 1 infinite\)\."
    with pytest.raises(NonFiniteError, match=message):
        clip_grad_norm_(model, 1.0, **options)
    with pytest.raises(RuntimeError, match=message):
        clip_grad_norm_(model.named_parameters(), 1.0, **options)
    with pytest.raises(NonFiniteError, match=r"tensor 2 of shape \(1, 3\)"):
        clip_grad_norm_(model.parameters(), 1.0, **options)
    assert_untouched(list(model.parameters()), before, versions)


def test_raise_names_at_most_eight(with_gradients):
    parameters = with_gradients(*[torch.tensor([NAN])] * 10)
    with pytest.raises(NonFiniteError, match=r"10 of 10 .* tensor 7 of shape \(1,\) \(1 NaN, 0 infinite\), \.\.\.\."):
        clip_grad_norm_(parameters, 1.0, nonfinite="raise")


def test_contradicting_words_are_refused():
    with pytest.raises(ParameterValueError, match="contradicts"):
        clip_grad_norm_([], 1.0, error_if_nonfinite=True, nonfinite="zero")
    with pytest.raises(ParameterValueError, match="nonfinite"):
        clip_grad_norm_([], 1.0, nonfinite="ignore")


def test_model_tensor_pairs_and_generator_are_taken():
    def fresh() -> nn.Module:
        model = nn.Linear(2, 1, bias=False)
        model.weight.grad = torch.tensor([[3.0, 4.0]])
        return model

    for choose in (
        lambda m: m,
        lambda m: m.weight,
        lambda m: m.parameters(),
        lambda m: m.named_parameters(),
        lambda m: list(m.parameters()),
        lambda m: (p for p in m.parameters()),
        lambda m: {"w": m.weight}.items(),
    ):
        model = fresh()
        assert clip_grad_norm_(choose(model), 1.0) == 5.0
        torch.testing.assert_close(model.weight.grad, torch.tensor([[0.6, 0.8]]))


def test_nothing_to_clip_gives_zero():
    for nothing in ([], [nn.Parameter(torch.ones(2))], nn.ReLU()):
        assert torch.equal(clip_grad_norm_(nothing, 1.0), torch.tensor(0.0))


@pytest.mark.parametrize("compiler", ["", "torch._dynamo"])
def test_an_exhausted_generator_is_warned_about(compiler):
    if compiler:
        importlib.import_module(compiler)  # its wrapper adds frames
    parameters = nn.Linear(2, 2).parameters()
    list(parameters)
    with pytest.warns(UserWarning, match="empty generator") as caught:
        clip_grad_norm_(parameters, 1.0)
    assert caught[0].filename == __file__


def test_parameters_without_gradient_are_skipped(with_gradients):
    (parameter,) = with_gradients(torch.tensor([3.0, 4.0]))
    frozen = nn.Parameter(torch.ones(3))
    clip_grad_norm_([frozen, parameter], 1.0)
    assert frozen.grad is None


def test_sparse_gradients_are_clipped_in_place():
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1, 1, 3])).sum().backward()
    expected = embedding.weight.grad.to_dense() / math.sqrt(10)
    norm = clip_grad_norm_(embedding, 1.0)
    assert float(norm) == pytest.approx(math.sqrt(10))
    torch.testing.assert_close(embedding.weight.grad.to_dense(), expected)


def test_a_gradient_with_a_graph_can_be_clipped():
    parameter = nn.Parameter(torch.tensor([3.0, 4.0]))
    (parameter.grad,) = torch.autograd.grad((parameter**2).sum() / 2, parameter, create_graph=True)
    clip_grad_norm_(parameter, 1.0)
    torch.testing.assert_close(parameter.grad.detach(), torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("max_norm", [1, torch.tensor(1.0), torch.tensor([1.0])])
def test_max_norm_may_be_what_torch_takes(max_norm, with_gradients):
    parameters = with_gradients(torch.tensor([3.0, 4.0]))
    clip_grad_norm_(parameters, max_norm)
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize(
    ("parameters", "max_norm", "error"),
    [
        (None, 1.0, ParameterTypeError),
        ([None], 1.0, ParameterTypeError),
        ([], "1", ParameterTypeError),
        ([], True, ParameterTypeError),
        ([], None, ParameterTypeError),
    ],
)
def test_wrong_types_are_named(parameters, max_norm, error):
    with pytest.raises(error, match=r"parameters|max_norm"):
        clip_grad_norm_(parameters, max_norm)


def test_a_meta_gradient_is_refused():
    parameter = nn.Parameter(torch.empty(2, device="meta"))
    parameter.grad = torch.empty(2, device="meta")
    with pytest.raises(ParameterValueError, match="meta device"):
        clip_grad_norm_(parameter, 1.0)


@pytest.mark.parametrize(("foreach", "operator"), [(True, "_foreach_mul_"), (False, "mul_")])
def test_foreach_chooses_the_kernels(foreach, operator, operators_of, with_gradients):
    parameters = with_gradients(*random_gradients())
    names = operators_of(lambda: clip_grad_norm_(parameters, 0.1, foreach=foreach))
    assert operator in names
    assert any(name.startswith("_foreach") for name in names) == foreach


def test_with_norm_clips_by_the_norm_it_is_given(with_gradients):
    parameters = with_gradients(torch.tensor([3.0, 4.0]))
    clip_grads_with_norm_(parameters, 1.0, torch.tensor(10.0))
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.3, 0.4]))
    clip_grads_with_norm_(parameters, 1.0, torch.tensor(0.5))
    torch.testing.assert_close(parameters[0].grad, torch.tensor([0.3, 0.4]))


@pytest.mark.parametrize("norm", [NAN, INF])
def test_with_norm_changes_nothing_for_a_norm_that_is_not_finite(norm, with_gradients):
    parameters = with_gradients(torch.tensor([3.0, 4.0]))
    clip_grads_with_norm_(parameters, 1.0, torch.tensor(norm))
    assert torch.equal(parameters[0].grad, torch.tensor([3.0, 4.0]))


@pytest.mark.parametrize(("norm", "error"), [(-1.0, ParameterValueError), ("5", ParameterTypeError)])
def test_with_norm_refuses_what_is_no_norm(norm, error, with_gradients):
    with pytest.raises(error, match="total_norm"):
        clip_grads_with_norm_(with_gradients(torch.ones(2)), 1.0, norm)


def test_two_halves_make_the_whole(with_gradients):
    whole, halves = with_gradients(*random_gradients()), with_gradients(*random_gradients())
    clip_grad_norm_(whole, 1.0)
    clip_grads_with_norm_(halves, 1.0, get_total_norm([parameter.grad for parameter in halves]))
    for one, other in zip(whole, halves, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_integer_tensors_have_no_norm():
    with pytest.raises(TensorDtypeError, match=r"got torch\.int64"):
        get_total_norm([torch.ones(2, dtype=torch.int64)])
