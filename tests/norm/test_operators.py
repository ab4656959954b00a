"""The operators, against one formula in float64: values, derivatives of both orders, tracing, vectorising."""

import pytest
import torch
from torch import library, nn

from evenflow.kernels import batch_norm as kernels
from evenflow.norm import BatchNorm1d, BatchNorm2d, operators
from evenflow.norm.activations import ACTIVATIONS
from evenflow.norm.formula import Parts, normalized
from evenflow.norm.moments import BatchMoments

NAMES = (None, *ACTIVATIONS)
LAYOUTS = {
    "planes": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "rows": lambda x: x.permute(0, 2, 3, 1).flatten(0, 2).contiguous(),
    "transposed": lambda x: x.flatten(2).transpose(1, 2).contiguous().transpose(1, 2),
    "scattered": lambda x: x.transpose(2, 3),
}


@pytest.fixture(params=["formula", "kernel"])
def way(request, monkeypatch):
    """Whatever the size of a tensor, the formula or a kernel does it."""
    monkeypatch.setattr(kernels, "WORTH_LOADING", 1 if request.param == "kernel" else 10**12)
    return request.param


def parts(
    dtype=torch.float64, residual=True, layout="planes", size=(6, 5, 4, 3), affine=True, mean=1.0, requires_grad=True
):
    make = torch.Generator().manual_seed(3)
    x = LAYOUTS[layout](torch.randn(size, generator=make, dtype=torch.float64) * 2 + mean).to(dtype)
    r = torch.randn(x.shape, generator=make, dtype=torch.float64).to(dtype) if residual else None
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    weight, bias = torch.rand(2, x.shape[1], generator=make, dtype=torch.float64).add(0.3).to(wide)
    made = Parts(x, weight if affine else None, bias if affine else None, r)
    return Parts(*made.filled(part.detach().requires_grad_(requires_grad) for part in made.there()))


def call(activation, moments=None, eps=1e-5):
    return lambda *tensors: operators.batch_norm(*tensors, moments, eps, activation)[0]


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("residual", [False, True])
def test_both_derivatives_are_those_of_the_function(way, activation, residual):
    inputs = parts(residual=residual)
    if activation in {"relu", "leaky_relu", "hardswish"}:  # no point may lie on a kink
        distance = normalized(inputs, None, 1e-5, None)[0].detach()
        assert min((distance - kink).abs().min().item() for kink in (0.0, 3.0, -3.0)) > 1e-4

    def function(*tensors):
        return operators.normalize(Parts(*tensors), None, 1e-5, activation)[0]

    assert torch.autograd.gradcheck(function, tuple(inputs), eps=1e-6)
    assert torch.autograd.gradgradcheck(function, tuple(inputs), eps=1e-6, atol=2e-5)


@pytest.mark.parametrize("activation", [None, "relu", "gelu"])
def test_given_moments_take_no_gradient(way, activation):
    moments = torch.stack((torch.linspace(0, 2, 5), torch.linspace(1, 5, 5))).double()

    def function(*tensors):
        return operators.normalize(Parts(*tensors), moments, 1e-3, activation)[0]

    assert torch.autograd.gradcheck(function, tuple(parts()), eps=1e-6)
    assert torch.autograd.gradgradcheck(function, tuple(parts()), eps=1e-6, atol=2e-5)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(
    ("dtype", "activation", "tolerance"),
    [
        (torch.float64, "tanh", 1e-12),
        (torch.float32, "relu", 2e-6),
        (torch.float32, "gelu", 3e-6),
        (torch.bfloat16, "silu", 2e-2),
    ],
    ids=str,
)
def test_layouts_and_dtypes(way, layout, residual, affine, dtype, activation, tolerance):
    inputs = parts(dtype, residual, layout, affine=affine)
    y, moments = operators.normalize(inputs, None, 1e-5, activation)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(5)).to(dtype)
    gradients = torch.autograd.grad(y, inputs.there(), dy)

    exact = Parts(*inputs.filled(part.detach().double().requires_grad_() for part in inputs.there()))
    reference, used = normalized(exact, None, 1e-5, activation)
    torch.testing.assert_close(y.double(), reference, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(moments, used, rtol=1e-9, atol=1e-9)
    assert y.dtype == dtype
    if layout != "scattered":
        assert y.stride() == inputs.x.stride()
    wanted = torch.autograd.grad(reference, exact.there(), dy.double())
    for part, gradient, reference_gradient in zip(inputs.there(), gradients, wanted, strict=True):
        assert gradient.dtype == part.dtype
        torch.testing.assert_close(gradient.double(), reference_gradient, rtol=5 * tolerance, atol=5 * tolerance)


def test_expanded_gradients_are_read_where_they_lie(way):
    inputs = parts(residual=False)
    y, _ = operators.normalize(inputs, None, 1e-5, "silu")
    loose = torch.autograd.grad(y, inputs.there(), torch.ones(()).double().expand(y.shape), retain_graph=True)
    dense = torch.autograd.grad(y, inputs.there(), torch.ones_like(y))
    assert all(map(torch.equal, loose, dense))


@pytest.mark.parametrize(
    ("activation", "residual", "given"), [(None, False, False), ("relu", True, False), ("silu", True, True)]
)
def test_operators_keep_torchs_rules(way, activation, residual, given):
    moments = torch.tensor([[0.1] * 5, [2.0] * 5], dtype=torch.float64) if given else None
    inputs = parts(torch.float32, residual)
    library.opcheck(operators.batch_norm, (*inputs, moments, 1e-5, activation))
    used = operators.normalize(inputs, moments, 1e-5, activation)[1]
    dy = torch.randn_like(inputs.x).requires_grad_()
    library.opcheck(operators.batch_norm_backward, (dy, *inputs, used, 1e-5, activation, given))


@pytest.mark.parametrize("activation", [None, "gelu"])
def test_vmap_is_the_loop(way, activation):
    stacks = [parts(residual=True, mean=mean, requires_grad=False) for mean in (0.0, 3.0, 5.0)]
    x, weight, bias, residual = (torch.stack(each) for each in zip(*stacks, strict=True))

    def loss(x, weight, bias, residual):
        return (operators.normalize(Parts(x, weight, bias, residual), None, 1e-5, activation)[0] ** 3).sum()

    together = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1, 2, 3)))(x, weight, bias, residual)
    for k, inputs in enumerate(stacks):
        alone = torch.func.grad(loss, argnums=(0, 1, 2, 3))(*inputs)
        for both, one in zip(together, alone, strict=True):
            torch.testing.assert_close(both[k], one, rtol=1e-9, atol=1e-9)


def test_vmap_over_some_of_the_inputs(way):
    inputs = parts(residual=False, requires_grad=False)
    weights = torch.rand(3, 5, dtype=torch.float64)

    def run(weight):
        return operators.normalize(inputs._replace(weight=weight), None, 1e-5, "relu")[0]

    torch.testing.assert_close(torch.func.vmap(run)(weights), torch.stack([run(weight) for weight in weights]))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own rules for jvp
def test_forward_derivatives(way):
    inputs = parts(requires_grad=False)
    tangent = torch.randn_like(inputs.x)

    def run(x):
        return operators.normalize(inputs._replace(x=x), None, 1e-5, "silu")[0]

    _, forward = torch.func.jvp(run, (inputs.x,), (tangent,))
    _, back = torch.func.vjp(run, inputs.x)
    cotangent = torch.randn_like(forward)
    torch.testing.assert_close((forward * cotangent).sum(), (back(cotangent)[0] * tangent).sum())


def test_gradient_of_a_gradient_that_depends_on_the_input_counts_each_way_once(way):
    x = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)

    def penalty(layer, x):
        y = layer(x)
        (first,) = torch.autograd.grad((y**3).sum() + (x * y).sum(), x, create_graph=True)
        return (first**2).sum()

    def ours(x):
        return operators.normalize(Parts(x, None, None, None), None, 1e-5, "tanh")[0]

    def formula(x):
        return normalized(Parts(x, None, None, None), None, 1e-5, "tanh")[0]

    (a,), (b,) = (torch.autograd.grad(penalty(layer, x), x) for layer in (ours, formula))
    torch.testing.assert_close(a, b)


def network():
    return nn.Sequential(nn.Conv2d(3, 8, 3), BatchNorm2d(8, activation="relu"), nn.Flatten(), nn.Linear(8 * 36, 4))


@pytest.mark.parametrize("training", [True, False])
def test_compiles_and_exports_as_one_graph(way, training):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, x = network().train(training), torch.randn(6, 3, 8, 8)
    twin = network().train(training)
    twin.load_state_dict(model.state_dict())
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    out, wanted = compiled(x), twin(x)
    torch.testing.assert_close(out, wanted)
    out.square().sum().backward()
    wanted.square().sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(
            ours.grad, theirs.grad, rtol=1e-4, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )
    torch.testing.assert_close(model[1].running_var, twin[1].running_var)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(twin, (x,), dynamic_shapes=({0: batch},), strict=False)
    assert any("evenflow.batch_norm" in str(node.target) for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(x[:4]), twin(x[:4]))


def test_keeps_the_input_and_two_numbers_a_channel(monkeypatch):
    monkeypatch.setattr(kernels, "WORTH_LOADING", 1)
    kept = []
    x = torch.randn(8, 1024, 16, requires_grad=True)
    layer = BatchNorm1d(1024, activation="silu")
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        layer(x)
    assert sorted(kept) == [1024, 1024, 2048, x.numel()]


def test_moments_are_unbiased_for_the_running_variance():
    x = torch.randn(512, 256)
    layer = BatchNorm1d(256, momentum=1.0)
    layer(x)
    torch.testing.assert_close(layer.running_var, x.var(0))
    assert isinstance(BatchMoments(x.mean(0), x.var(0), 512), BatchMoments)
