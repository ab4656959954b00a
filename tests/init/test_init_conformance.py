"""Every function, on every dtype and layout, gives an element the value that belongs to its logical index."""

import pytest
import torch
from torch import nn

import evenflow as ef
from evenflow.errors import MetaTensorError
from evenflow.init import fill
from evenflow.random import Stream

STREAM = Stream(11, "weight")
REAL = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
COMPLEX = [torch.complex64, torch.complex128]
SHAPE = (8, 6, 3, 3)

FOUR_D = {
    "uniform_": {"a": -0.3, "b": 0.4},
    "normal_": {"mean": 0.2, "std": 0.5},
    "trunc_normal_": {"std": 0.5, "a": -0.25, "b": 1.0},
    "truncated_normal_": {"std": 0.5, "low": -0.25, "high": 1.0},
    "random_uniform_": {},
    "random_normal_": {},
    "xavier_uniform_": {"gain": 2.0},
    "xavier_normal_": {},
    "kaiming_uniform_": {"a": 0.1},
    "kaiming_normal_": {"nonlinearity": "relu", "mode": "fan_out"},
    "glorot_uniform_": {},
    "glorot_normal_": {},
    "he_uniform_": {"slope": 0.2},
    "he_normal_": {"mode": "fan_out"},
    "lecun_uniform_": {},
    "lecun_normal_": {},
    "variance_scaling_": {"scale": 2.0, "distribution": "truncated_normal"},
    "orthogonal_": {"gain": 1.5},
    "delta_orthogonal_": {},
}
TWO_D = {"sparse_": {"sparsity": 0.3, "std": 1.0}}
FIXED = {"zeros_": {}, "ones_": {}, "constant_": {"val": 0.5}, "dirac_": {"groups": 2}, "eye_": {}}
RANDOM = FOUR_D | TWO_D
ALL = RANDOM | FIXED
FACTORED = {"orthogonal_", "delta_orthogonal_"}
REAL_ONLY = {"trunc_normal_", "truncated_normal_", "variance_scaling_"}


def shape_for(name):
    return (8, 54) if name in {"sparse_", "eye_"} else SHAPE


def call(name, tensor):
    source = {} if name in FIXED else {"stream": STREAM}
    return getattr(ef.init, name)(tensor, **ALL[name], **source)


def reference(name, dtype=torch.float32):
    return call(name, torch.full(shape_for(name), float("nan"), dtype=dtype))


def transposed(shape, dtype):
    return torch.zeros(shape[::-1], dtype=dtype).permute(*reversed(range(len(shape))))


def sliced(shape, dtype):
    return torch.zeros([3 * size for size in shape], dtype=dtype)[tuple(slice(1, 3 * n, 3) for n in shape)]


def channels_last(shape, dtype):
    target = torch.zeros(shape, dtype=dtype)
    return target.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else target.t().contiguous().t()


def conjugated(shape, dtype):
    return torch.zeros(shape, dtype=dtype).conj()


@pytest.mark.parametrize("layout", [transposed, sliced, channels_last])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, dtype) for name in ALL for dtype in (REAL if name in REAL_ONLY else [*REAL, *COMPLEX])],
)
def test_the_layout_does_not_show(name, dtype, layout):
    target = layout(shape_for(name), dtype)
    strides = target.stride()
    assert call(name, target) is target
    assert target.stride() == strides
    assert torch.equal(target, reference(name, dtype))


@pytest.mark.parametrize("name", [name for name in ALL if name not in REAL_ONLY])
def test_a_lazily_conjugated_tensor_gets_the_same_values(name):
    target = call(name, conjugated(shape_for(name), torch.complex64))
    assert torch.equal(target.resolve_conj(), reference(name, torch.complex64))


@pytest.mark.parametrize("name", RANDOM)
def test_what_lies_beside_a_slice_is_left_alone(name):
    shape = shape_for(name)
    whole = torch.zeros([2 * size for size in shape])
    call(name, whole[tuple(slice(0, n) for n in shape)])
    assert whole.count_nonzero() == reference(name).count_nonzero()


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", [name for name in ALL if name not in FACTORED])
def test_every_dtype_is_the_float32_draw_rounded(name, dtype):
    found, rounded = reference(name, dtype), reference(name).to(dtype)
    if "uniform" in name and dtype.itemsize == 2:
        # What rounding would have moved out of the interval is its first or its last number.
        rounded = rounded.clamp(found.min(), found.max())
    assert torch.equal(found, rounded)


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("name", sorted(FACTORED))
def test_a_factorisation_in_every_dtype_is_that_of_the_same_draws(name, dtype):
    # QR in single precision moves the factor by a few hundred roundings of 6e-8; bfloat16 rounds by 2^-9.
    tolerance = 5e-3 if dtype.itemsize == 2 else 1e-4
    torch.testing.assert_close(reference(name, dtype).float(), reference(name), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in RANDOM if name not in REAL_ONLY | FACTORED])
def test_complex_precisions_are_the_same_draws(name):
    single, double = (reference(name, dtype) for dtype in COMPLEX)
    assert torch.equal(double, single.to(torch.complex128))
    assert len(torch.view_as_real(double).unique()) > double.numel()


@pytest.mark.parametrize("name", sorted(REAL_ONLY))
def test_an_interval_is_refused_for_complex_numbers(name):
    with pytest.raises(ef.EvenflowError, match="interval has no meaning for complex") as caught:
        call(name, torch.zeros(shape_for(name), dtype=torch.complex64))
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize("name", ALL)
def test_a_parameter_is_filled_without_a_trace_in_autograd(name):
    parameter = nn.Parameter(torch.zeros(shape_for(name)))
    assert call(name, parameter) is parameter
    assert parameter.requires_grad
    assert parameter.is_leaf
    assert parameter.grad is None
    assert torch.equal(parameter.detach(), reference(name))


@pytest.mark.parametrize("name", RANDOM)
def test_pieces_do_not_show(name, monkeypatch):
    whole, whole_complex = reference(name), None if name in REAL_ONLY else reference(name, torch.complex64)
    monkeypatch.setattr(fill, "_DRAWN", 7)
    monkeypatch.setattr(fill, "_ALONE", 3)
    monkeypatch.setattr(fill, "torch_team", lambda: None)
    shape = shape_for(name)
    part = torch.zeros([2 * size for size in shape])[tuple(slice(0, n) for n in shape)]
    assert torch.equal(call(name, nn.Parameter(part)).detach(), whole)
    assert whole_complex is None or torch.equal(reference(name, torch.complex64), whole_complex)


@pytest.mark.parametrize("name", ALL)
def test_a_meta_tensor_is_refused_and_takes_no_random_number(name):
    target = torch.empty(shape_for(name), device="meta")
    before = torch.get_rng_state()
    with pytest.raises(MetaTensorError, match=r"lies on the meta device .* model.to_empty\(device=...\)"):
        getattr(ef.init, name)(target, **ALL[name])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(0, 6), (8, 0), (0, 0)])
@pytest.mark.parametrize("name", [name for name in ALL if not name.startswith("kaiming")])
def test_a_tensor_without_elements_is_returned_in_silence(name, shape):
    full = shape if name in {"sparse_", "eye_"} else (*shape, 3, 3)
    if name == "delta_orthogonal_" and shape == (0, 6):
        full = (6, 6, 0)
    target = torch.empty(full)
    before = torch.get_rng_state()
    assert getattr(ef.init, name)(target, **ALL[name]) is target
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["kaiming_uniform_", "kaiming_normal_"])
def test_kaiming_warns_of_a_tensor_without_elements_as_torch_does(name):
    target = torch.empty(0, 6)
    with pytest.warns(UserWarning, match="zero-element tensors is a no-op"):
        assert getattr(ef.init, name)(target) is target


@pytest.mark.parametrize(
    "name", ["uniform_", "normal_", "trunc_normal_", "random_uniform_", "random_normal_", "zeros_"]
)
def test_a_scalar_tensor_is_the_first_draw(name):
    target = call(name, torch.tensor(float("nan")))
    assert target.shape == ()
    assert torch.equal(target, reference(name).reshape(-1)[0])
