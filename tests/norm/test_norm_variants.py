"""Every layer of the family alike: activations, residuals, dtypes, layouts, compiling, copying, the tracer."""

import copy
import pickle

import pytest
import torch
from torch import nn

import evenflow as ef
from evenflow.errors import TensorDtypeError, TensorShapeError
from evenflow.norm import (
    BatchNorm1d,
    BatchNorm2d,
    BatchRenorm,
    GhostBatchNorm,
    MaskedBatchNorm,
    SyncBatchNorm,
)
from evenflow.norm.activations import ACTIVATIONS

AT_ONCE = {"r_ramp": (0, 0), "d_ramp": (0, 0)}
KINDS = {
    "plain": lambda **options: BatchNorm2d(3, **options),
    "accumulating": lambda **options: BatchNorm2d(3, accumulate=2, **options),
    "averaging": lambda **options: BatchNorm2d(3, momentum=None, **options),
    "frozen": lambda **options: BatchNorm2d(3, frozen=True, **options),
    "ghost": lambda **options: GhostBatchNorm(3, ghost_batch_size=3, **options),
    "renorm": lambda **options: BatchRenorm(3, **AT_ONCE, **options),
    "masked": lambda **options: MaskedBatchNorm(3, **options),
    "sync": lambda **options: SyncBatchNorm(3, **options),
}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)
MASK = torch.rand(6, 4, 5, generator=torch.Generator().manual_seed(5)) > 0.3
INPUT = torch.randn(6, 3, 4, 5, generator=torch.Generator().manual_seed(6)) * 2 + 1


def call(layer, x, residual=None):
    if isinstance(layer, MaskedBatchNorm):
        return layer(x, MASK, residual)
    return layer(x, residual)


def assert_buffers(found, wanted):
    for mine, buffer in zip(found.buffers(), wanted.buffers(), strict=True):
        torch.testing.assert_close(mine, buffer)


@EVERY_KIND
@pytest.mark.parametrize("activation", [None, *ACTIVATIONS])
@pytest.mark.parametrize("training", [True, False])
def test_residual_and_activation_come_after_the_normalisation(kind, activation, training):
    fused, plain = KINDS[kind](activation=activation).train(training), KINDS[kind]().train(training)
    residual = INPUT.flip(0)
    expected = call(plain, INPUT) + residual
    expected = expected if activation is None else ACTIVATIONS[activation](expected)
    if kind == "masked":
        expected = torch.where(MASK.unsqueeze(1), expected, 0)
    torch.testing.assert_close(call(fused, INPUT, residual), expected)
    assert_buffers(fused, plain)


@EVERY_KIND
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_every_dtype_and_layout_agrees_with_float64(kind, dtype, channels_last, training):
    layer, exact = (
        KINDS[kind](activation="silu").train(training),
        KINDS[kind](activation="silu").train(training).double(),
    )
    x = INPUT.to(dtype)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    layer = layer.to(dtype)
    y = call(layer, x)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last) == channels_last
    tolerance = {torch.float64: 1e-10, torch.float16: 4e-3, torch.bfloat16: 3e-2}[dtype]
    torch.testing.assert_close(y.double(), call(exact, x.double()), rtol=tolerance, atol=tolerance)
    for mine, wanted in zip(layer.buffers(), exact.buffers(), strict=True):
        torch.testing.assert_close(mine.double(), wanted.double(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"frozen"}))
def test_a_large_mean_costs_no_digits(kind):
    layer = KINDS[kind](momentum=1.0) if kind != "averaging" else KINDS[kind]()
    exact = copy.deepcopy(layer).double()
    x = (INPUT + 1e6).float()
    expected = call(exact, x.double())
    tolerance = {"renorm": 2e-2}.get(kind, 2e-5)  # its shift, a million deviations here, is clipped to 5
    torch.testing.assert_close(call(layer, x).double(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(layer.running_var.double(), exact.running_var, rtol=1e-5, atol=0)


# torch's own tracer makes an object of each autograd.Function, and warns of itself.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@EVERY_KIND
@pytest.mark.parametrize("on_nonfinite", ["propagate", "skip"])
def test_torch_compile_captures_it_whole(kind, on_nonfinite):
    torch._dynamo.reset()
    eager = KINDS[kind](activation="relu", on_nonfinite=on_nonfinite)
    compiled = copy.deepcopy(eager)
    run = torch.compile(compiled, backend="aot_eager", fullgraph=True)
    for step in range(3):
        xs = [(INPUT * (step + 1)).requires_grad_() for _ in range(2)]
        ys = call(run, xs[0]) if kind != "masked" else run(xs[0], MASK), call(eager, xs[1])
        torch.testing.assert_close(*ys, rtol=1e-5, atol=1e-5)
        gradients = [torch.autograd.grad(y.pow(3).sum(), x)[0] for x, y in zip(xs, ys, strict=True)]
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)
    assert_buffers(compiled, eager)
    torch._dynamo.reset()


@EVERY_KIND
@pytest.mark.parametrize("training", [True, False])
def test_torch_export_takes_it(kind, training):
    layer = KINDS[kind](activation="relu").train(training)
    arguments = (INPUT, MASK) if kind == "masked" else (INPUT,)
    exported = torch.export.export(copy.deepcopy(layer), arguments).module()
    torch.testing.assert_close(exported(*arguments), layer(*arguments))


@EVERY_KIND
def test_vmap_over_an_ensemble_gives_what_a_loop_gives(kind):
    layers = [KINDS[kind]() for _ in range(3)]
    xs = torch.stack([INPUT * (i + 1) for i in range(3)])
    parameters, buffers = torch.func.stack_module_state(layers)
    base = copy.deepcopy(layers[0])
    arguments = (MASK,) if kind == "masked" else ()

    def one(parameters, buffers, x):
        return torch.func.functional_call(base, (parameters, buffers), (x, *arguments))

    together = torch.func.vmap(one)(parameters, buffers, xs)
    torch.testing.assert_close(together, torch.stack([call(layer, x) for layer, x in zip(layers, xs, strict=True)]))
    for i, layer in enumerate(layers):
        for name, buffer in layer.named_buffers():
            torch.testing.assert_close(buffers[name][i], buffer)


@EVERY_KIND
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_equal_and_independent(kind, duplicate):
    layer = KINDS[kind](activation="tanh", on_nonfinite="skip")
    call(layer, INPUT)
    twin = duplicate(layer)
    before = copy.deepcopy(layer.state_dict())
    y = call(twin, INPUT * 2)
    for name, value in layer.state_dict().items():
        assert torch.equal(value, before[name])
    assert torch.equal(call(layer, INPUT * 2), y)
    assert_buffers(twin, layer)
    assert repr(twin) == repr(layer)


@EVERY_KIND
def test_state_dicts_go_to_torch_and_back(kind):
    layer, torchs, back = KINDS[kind](), nn.BatchNorm2d(3), KINDS[kind]()
    call(layer, INPUT)
    torchs.load_state_dict(layer.state_dict())
    back.load_state_dict(torchs.state_dict())
    assert list(layer.state_dict()) == list(torchs.state_dict())
    torch.testing.assert_close(call(back.eval(), INPUT), call(layer.eval(), INPUT))


# What is clipped has no derivative: test_batch_renorm has a place where nothing changes sides.
@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"renorm"}))
def test_first_and_second_derivatives_agree_with_finite_differences(kind):
    layer = KINDS[kind](activation="tanh", running_variance="unbiased").double()
    x = INPUT[:4, :, :2, :2].double().requires_grad_()

    def function(x, weight, bias):
        return torch.func.functional_call(copy.deepcopy(layer), {"weight": weight, "bias": bias}, (x, *arguments))

    arguments = (MASK[:4, :2, :2],) if kind == "masked" else ()
    inputs = (x, *(torch.linspace(0.5, 2, 3).double().requires_grad_() for _ in range(2)))
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@EVERY_KIND
def test_autocast_keeps_the_statistics_float32(kind):
    layer = KINDS[kind]()
    with torch.autocast("cpu", torch.bfloat16):
        assert call(layer, INPUT).dtype == torch.float32
        assert call(layer, INPUT.bfloat16()).dtype == torch.bfloat16
    assert layer.running_mean.dtype == torch.float32


@EVERY_KIND
def test_what_no_layer_takes(kind):
    layer = KINDS[kind]()
    for x, error in (
        (INPUT.long(), TensorDtypeError),
        (INPUT[:, :2], TensorShapeError),
        (INPUT[0, 0], TensorShapeError),
    ):
        with pytest.raises(error):
            layer(x)


@EVERY_KIND
def test_the_tracer_sees_a_normalisation(kind):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(2, 3, 1), KINDS[kind](), nn.Linear(60, 4)

        def forward(self, x):
            return self.head(call(self.norm, self.conv(x)).relu().flatten(1))

    x = torch.randn(6, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    diagnosis = ef.check(Model(), (x, torch.arange(6) % 4))
    assert [(layer.name, layer.role) for layer in diagnosis.layers] == [
        ("conv", "weight"), ("norm", "norm"), ("head", "weight")
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [BatchNorm1d, SyncBatchNorm, MaskedBatchNorm, GhostBatchNorm, BatchRenorm])
def test_all_take_what_the_family_takes(kind):
    layer = kind(
        3, 1e-3, 0.2, False, activation="relu", on_nonfinite="skip", running_variance="biased", accumulate=2
    )  # fmt: skip
    assert repr(layer).startswith(f"{kind.__name__}(3, eps=0.001, momentum=0.2, affine=False")
    assert "activation=relu, on_nonfinite=skip" in repr(layer)
