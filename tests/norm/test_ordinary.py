"""The ordinary call of a layer does what the long way does, and is not taken where anything is special."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from evenflow.errors import MetaTensorError, ParameterTypeError, TensorShapeError
from evenflow.kernels import batch_norm as kernels
from evenflow.norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from evenflow.norm.activations import ACTIVATIONS
from evenflow.norm.modules import EvenBatchNorm
from evenflow.norm.whole_batch import whole_batch

C = 6
SHAPES = {"rows": (32, C), "lines": (8, C, 5), "planes": (4, C, 3, 5), "cubes": (3, C, 2, 3, 2)}
LAYERS = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d, 5: BatchNorm3d}


class Watched(EvenBatchNorm):
    """A layer of another class, which goes the long way."""


@pytest.fixture(autouse=True, params=["large", "small"])
def size(request, monkeypatch):
    """Every batch is large, or every one is small, which torch's kernel does."""
    monkeypatch.setattr(kernels, "WORTH_LOADING", 1 if request.param == "large" else 10**12)
    return request.param


@pytest.fixture
def ways(monkeypatch):
    """List the calls that go the long way."""
    taken = []
    run = EvenBatchNorm._run

    def noted(self, *args, **options):
        taken.append(self)
        return run(self, *args, **options)

    monkeypatch.setattr(EvenBatchNorm, "_run", noted)
    return taken


def the_long_way(layer):
    """Return the same layer, of a class that is not one of the ordinary ones."""
    other = copy.deepcopy(layer)
    other.__class__ = type("Long", (type(layer),), {})
    return other


def batch(shape, dtype=torch.float32, seed=0):
    make = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=make) * 2 + 3).to(dtype)


def step(layer, x, residual=None):
    """Return everything that a step of training gives and moves."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    inputs = [x, *layer.parameters()]
    if residual is not None:
        residual = residual.detach().clone().requires_grad_()
        inputs.append(residual)
    y = layer(x, residual)
    gradients = torch.autograd.grad(y, inputs, batch(y.shape, y.dtype, seed=1).contiguous(), allow_unused=True)
    return [y.detach(), *gradients, *layer.buffers()]


def assert_the_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        assert one.dtype == other.dtype
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other, rtol=2e-7 if one.dtype.is_floating_point else 0, atol=0)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(
    ("activation", "dtype", "with_residual"),
    [
        *((activation, torch.float32, False) for activation in (None, *ACTIVATIONS)),
        *((activation, dtype, True) for activation in ("relu", "gelu") for dtype in (torch.float32, torch.bfloat16)),
        ("relu", torch.float64, False),
    ],
    ids=str,
)
def test_it_does_what_the_long_way_does(ways, size, shape, activation, dtype, with_residual):
    layer = LAYERS[len(shape)](C, activation=activation).to(dtype)
    nn.init.uniform_(layer.weight)
    nn.init.normal_(layer.bias)
    long = the_long_way(layer)
    x, residual = batch(shape, dtype), batch(shape, dtype, seed=2) if with_residual else None
    for _ in range(2):
        ours = step(layer, x, residual)
        assert not ways or (size == "small" and dtype == torch.bfloat16)
        assert_the_same(ours, step(long, x, residual))
        ways.clear()


@pytest.mark.parametrize(
    ("options", "threads"),
    [
        (options, threads)
        for options in (
            {"affine": False}, {"bias": False}, {"track_running_stats": False}, {"momentum": 0.9}, {"eps": 0.5},
        )
        for threads in (1, 2)
    ],
    ids=str,
)  # fmt: skip
def test_it_knows_the_options_that_torch_has(ways, options, threads):
    layer = BatchNorm2d(C, **options)
    long, x = the_long_way(layer), batch((8, C, 6, 7)).to(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ours = step(layer, x)
        assert not ways
        assert_the_same(ours, step(long, x))
    finally:
        torch.set_num_threads(before)


def test_without_gradients_and_for_a_batch_of_odd_strides(ways):
    layer = BatchNorm2d(C, activation="relu")
    long, x = the_long_way(layer), batch((6, 8, C, 4)).permute(1, 2, 3, 0)[::2]
    with torch.no_grad():
        y = layer(x)
        assert not ways
        assert_the_same([y, *layer.buffers()], [long(x), *long.buffers()])


def test_a_batch_that_is_a_negative_view(ways):
    x = torch.complex(batch((8, C, 4, 4)), batch((8, C, 4, 4), seed=3)).conj().imag
    assert x.is_neg()
    assert_the_same(step(BatchNorm2d(C), x), step(BatchNorm2d(C), x.clone()))
    layer = BatchNorm2d(C)
    y, wanted = layer(x), the_long_way(BatchNorm2d(C))(x.clone())
    assert_the_same([y], [wanted])


@pytest.mark.parametrize(
    "option",
    [
        {"momentum": None}, {"on_nonfinite": "skip"}, {"on_nonfinite": "raise"}, {"running_variance": "biased"},
        {"statistics_dtype": torch.float64}, {"accumulate": 2}, {"frozen": True}, {"inplace": True},
    ],
    ids=str,
)  # fmt: skip
def test_an_option_of_ours_takes_the_long_way(ways, option):
    layer = BatchNorm2d(C, **option)
    layer(batch((4, C, 3, 3)))
    assert ways == [layer]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_evaluation_without_gradients(ways, size, dtype):
    layer = BatchNorm2d(C, activation="relu").to(dtype)
    layer(batch((8, C, 3, 3), dtype))
    layer.eval()
    long, x = the_long_way(layer), batch((4, C, 3, 3), dtype)
    ways.clear()
    with torch.no_grad():
        y = layer(x)
        assert (ways == []) == (size == "large")
        assert_the_same([y, *layer.buffers()], [long(x), *long.buffers()])
    layer.running_var = layer.running_var[:1]
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"size|elements"):
        layer(x)


def test_evaluation_with_gradients_a_parametrisation_and_company_take_the_long_way(ways):
    x = batch((4, C, 3, 3))
    evaluated = BatchNorm2d(C).eval()
    evaluated(x)
    doubled = BatchNorm2d(C)
    parametrize.register_parametrization(doubled, "weight", nn.Softplus())
    y = doubled(x)
    y.sum().backward()
    together = BatchNorm2d(C)
    whole_batch(together, [x, x])
    other = Watched(C)
    other(x)
    assert {*ways} == {evaluated, doubled, together, other}
    assert doubled.parametrizations.weight.original.grad is not None


def test_what_is_wrong_takes_the_long_way_and_moves_nothing():
    layer = BatchNorm2d(C)
    before = [buffer.clone() for buffer in layer.buffers()]
    x = batch((4, C, 3, 3))
    with pytest.raises(TensorShapeError, match="residual"):
        layer(x, batch((4, C, 3, 2)))
    with pytest.raises(ParameterTypeError, match="ndarray"):
        layer(x.numpy())
    with pytest.raises(TensorShapeError, match="channels"):
        layer(batch((4, C + 1, 3, 3)))
    with pytest.raises(TensorShapeError, match="more than one value"):
        layer(batch((1, C, 1, 1)))
    layer.weight = nn.Parameter(torch.ones(C - 1))
    with pytest.raises(RuntimeError, match="weight"):
        layer(x)
    layer.weight = nn.Parameter(torch.ones(C, device="meta"))
    with pytest.raises(RuntimeError, match="device meta"):
        layer(x)
    layer.weight = nn.Parameter(torch.ones(C))
    with torch.inference_mode():
        kept = torch.clone(x)
    with pytest.raises(RuntimeError, match="Inference tensors"):
        layer(kept)
    assert_the_same(layer.buffers(), before)


def test_a_small_batch_that_torch_would_not_do_well_takes_the_long_way(ways, size):
    layer, x = BatchNorm2d(C), batch((4, C, 3, 3)) + 1e6
    y = layer(x)
    assert (ways == [layer]) == (size == "small")
    torch.testing.assert_close(y, nn.BatchNorm2d(C).double()(x.double()).float(), rtol=1e-4, atol=1e-4)
    assert layer.num_batches_tracked == 1


def test_running_statistics_that_a_kernel_cannot_move_take_the_long_way(ways):
    x = batch((4, C, 3, 3))
    strided = BatchNorm2d(C)
    strided.running_mean = torch.zeros(2 * C)[::2]
    halves = BatchNorm2d(C)
    halves.running_mean, halves.running_var = halves.running_mean.half(), halves.running_var.half()
    mixed = BatchNorm2d(C)
    mixed.running_var = mixed.running_var.double()
    for layer in (strided, halves, mixed):
        layer(x)
    assert ways == [strided, halves, mixed]
    for layer in (strided, halves, mixed):
        torch.testing.assert_close(layer.running_mean.float(), 0.1 * x.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)


def test_inference_mode_may_train_a_layer():
    x = batch((4, C, 3, 3))
    with torch.inference_mode():
        layer = BatchNorm2d(C)
        layer(x)
        assert layer.num_batches_tracked == 1
    ordinary = BatchNorm2d(C)
    with torch.inference_mode():
        ordinary(x)
    assert_the_same(ordinary.buffers(), layer.buffers())


def test_autograd_knows_that_the_running_statistics_have_moved():
    """What was computed from them before is not taken back through their new values."""
    layer, x = BatchNorm2d(C), batch((4, C, 3, 3))
    factor = torch.ones(C, requires_grad=True)
    product = (factor * layer.running_mean).sum()
    layer(x)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_tensors_that_come_back_laid_out_in_another_way():
    """As they do from hooks that keep them elsewhere."""
    x = batch((4, C, 3, 5)).to(memory_format=torch.channels_last)
    layer = BatchNorm2d(C, activation="gelu")
    wanted = step(copy.deepcopy(layer), x)
    with torch.autograd.graph.saved_tensors_hooks(torch.clone, lambda kept: kept.contiguous()):
        found = step(layer, x)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", ["large"], indirect=True)
def test_a_residual_of_inference_mode_moves_nothing():
    layer, x = BatchNorm2d(C), batch((4, C, 3, 3))
    with torch.inference_mode():
        residual = torch.ones(4, C, 3, 3)
    with pytest.raises(RuntimeError, match="Inference tensors"):
        layer(x, residual)
    assert_the_same(layer.buffers(), BatchNorm2d(C).buffers())


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("shape", [(32, C), (4, C, 3, 5)], ids=str)
def test_moments_that_a_hook_keeps_in_another_way(inplace, shape):
    layer = LAYERS[len(shape)](C, inplace=inplace)
    x = batch(shape).requires_grad_()
    (wanted,) = torch.autograd.grad(copy.deepcopy(layer)(x * 1.0).square().sum(), x)
    for keep in (torch.Tensor.float, lambda kept: kept.transpose(0, -1).contiguous().transpose(0, -1)):
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
            y = copy.deepcopy(layer)(x * 1.0)
        (found,) = torch.autograd.grad(y.square().sum(), x)
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", ["large"], indirect=True)
def test_a_parameter_that_shrank_before_the_backward_pass():
    layer, x = BatchNorm2d(C), batch((4, C, 3, 5)).requires_grad_()
    y = layer(x)
    layer.weight.data = torch.ones(1)
    with pytest.raises(RuntimeError, match="shape"):
        y.sum().backward()


def test_a_saved_batch_that_comes_back_without_memory():
    layer, x = BatchNorm2d(C), batch((4, C, 3, 5)).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda kept: kept.to("meta"), lambda kept: kept):
        y = layer(x)
    with pytest.raises((RuntimeError, NotImplementedError)):
        y.sum().backward()


def test_another_default_device():
    layer, x = BatchNorm2d(C), batch((4, C, 3, 5))
    wanted = [copy.deepcopy(layer)(x), copy.deepcopy(layer).eval()(x)]
    with torch.device("meta"):
        found = [copy.deepcopy(layer)(x), copy.deepcopy(layer).eval()(x)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_what_has_no_memory_is_refused_and_moves_nothing(size):
    x = batch((4, C, 3, 5))
    freed = x.clone()
    freed.untyped_storage().resize_(0)
    layer = BatchNorm2d(C)
    with pytest.raises((RuntimeError, MetaTensorError)):
        layer(freed)
    assert_the_same(layer.buffers(), BatchNorm2d(C).buffers())
    if size == "large":
        layer.running_mean.untyped_storage().resize_(0)
        with pytest.raises(MetaTensorError, match="no memory"):
            layer(x)
        assert layer.num_batches_tracked == 0


def test_running_statistics_that_are_no_plain_numbers_take_the_long_way(ways):
    x = batch((4, C, 3, 3))
    negative, learned = BatchNorm2d(C), BatchNorm2d(C)
    negative.running_mean = torch.complex(torch.zeros(C), torch.zeros(C)).conj().imag
    learned.running_mean.requires_grad_()
    negative(x)
    torch.testing.assert_close(negative.running_mean.clone(), 0.1 * x.mean((0, 2, 3)))
    with pytest.raises(RuntimeError, match="requires grad"):
        learned(x)
    assert ways == [negative, learned]
