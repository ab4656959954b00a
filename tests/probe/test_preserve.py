"""After a measurement everything is what it was, however it ended."""

import copy
import hashlib
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from evenflow.errors import EvenflowError
from evenflow.probe import measure, preserved

X, Y = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_forward_hooks_with_kwargs",
         "_forward_pre_hooks_with_kwargs", "_forward_hooks_always_called")  # fmt: skip


class Failing(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise ArithmeticError("no derivative")


class Restless(nn.Module):
    """Changes everything that a forward pass can change, then fails where it is told to."""

    def __init__(self, fail=None):
        super().__init__()
        self.first, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 6))
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(6, 3)
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("table", torch.ones(3), persistent=False)
        self.register_buffer("replaced", torch.arange(3.0))
        self.register_buffer("nothing", None)
        self.frozen = nn.Parameter(torch.ones(2), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(1 + 2j))
        self.flag = nn.Parameter(torch.zeros(3), requires_grad=True)
        self.history, self.cache, self.seen, self.fail = [1], {"a": 1}, {1}, fail

    def forward(self, x):
        x = self.drop(self.norm(torch.relu(self.spectral(self.first(x)))))
        self.steps += 1
        self.table.data.mul_(3)
        self.replaced = torch.full((5,), 9.0, dtype=torch.float64)
        self.nothing = torch.zeros(1)
        self.register_buffer("new", torch.ones(1), persistent=False)
        self.extra = nn.Linear(1, 1)
        self.history.append(2)
        self.cache["b"] = x
        self.seen.add(2)
        self.last = x
        with torch.no_grad():
            self.frozen.add_(1)
            self.scale.mul_(1j)
        self.flag.data = torch.ones(4, dtype=torch.float16)
        self.flag.requires_grad_(False)
        self.head.eval()
        self.head.register_forward_hook(lambda *_: None)
        torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002
        if self.fail == "forward":
            raise KeyError("in forward")
        if self.fail == "interrupt":
            raise KeyboardInterrupt
        return Failing.apply(self.head(x)) if self.fail == "backward" else self.head(x)


def digest(value):
    if isinstance(value, torch.Tensor):
        plain = torch.view_as_real(value.detach()) if value.is_complex() else value.detach()
        return (str(value.dtype), tuple(value.shape), hashlib.sha256(plain.numpy().tobytes()).hexdigest())
    return value


def state(model):
    """Everything that belongs to a model and to the random generators, identities included."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "values": {name: digest(tensor) for name, tensor in tensors.items()},
        "identities": {name: (id(t), t.data_ptr(), t._version) for name, t in tensors.items()},
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "gradients": {name: (id(p.grad), digest(p.grad)) for name, p in model.named_parameters()},
        "modes": {name: module.training for name, module in model.named_modules()},
        "modules": {name: id(module) for name, module in model.named_modules()},
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "persistence": {name: set(m._non_persistent_buffers_set) for name, m in model.named_modules()},
        "hooks": {name: {kind: dict(getattr(m, kind)) for kind in HOOKS} for name, m in model.named_modules()},
        "containers": copy.deepcopy([(m.history, m.cache, m.seen) for m in model.modules() if isinstance(m, Restless)]),
        "random": (digest(torch.get_rng_state()), str(np.random.get_state()), random.getstate()),  # noqa: NPY002
    }


def restless(fail=None, *, gradients=True):
    model = Restless(fail)
    model.norm.eval()
    if gradients:
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
    return model


def raising_loss(output, targets):
    raise RuntimeError("in the loss")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_after_a_measurement(training, gradients):
    model = restless(gradients=gradients)
    if not training:
        model.eval()
    before = state(model)
    # An in-place change that forward itself makes raises the version of a tensor; the values are put back without.
    changed = {"steps", "frozen", "scale", "norm.num_batches_tracked"}
    measure(model, (X, Y))
    after = state(model)
    for identities in (before["identities"], after["identities"]):
        for name in changed & set(identities):
            identities[name] = identities[name][:2]
        for name in list(identities):
            if "spectral" in name:
                identities[name] = identities[name][:2]
    assert after == before


@pytest.mark.parametrize(
    ("fail", "loss_fn", "targets", "error"),
    [
        ("forward", None, Y, EvenflowError),
        ("interrupt", None, Y, KeyboardInterrupt),
        ("backward", None, Y, EvenflowError),
        (None, raising_loss, Y, EvenflowError),
        (None, lambda output, targets: 1.0, Y, EvenflowError),
        (None, None, Y + 99, EvenflowError),
        (None, None, "nothing", EvenflowError),
    ],
)
def test_after_a_measurement_that_raises(fail, loss_fn, targets, error):
    model = restless(fail)
    before = state(model)
    with pytest.raises(error):
        measure(model, (X, targets), loss_fn)
    after = state(model)
    before.pop("identities"), after.pop("identities")
    assert after == before


def test_the_batch_is_what_it_was():
    x, y = X.clone(), Y.clone()

    def loss(output, targets):
        targets.fill_(0)
        return F.cross_entropy(output.mul_(1), targets)

    class Clearing(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)

        def forward(self, x):
            return self.fc(x.zero_())

    measure(Clearing(), (x, y), loss)
    assert torch.equal(x, X)
    assert torch.equal(y, Y)


def test_versions_do_not_rise_when_nothing_changed():
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    before = [p._version for p in model.parameters()]
    measure(model, (X, Y))
    assert [p._version for p in model.parameters()] == before


def test_a_graph_that_was_built_before_can_still_be_run_backward():
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.LSTM(6, 6))
    head = nn.Linear(6, 3)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.head = model, head

        def forward(self, x):
            return self.head(self.body(x)[0])

    net = Net()
    F.cross_entropy(net(X), Y).backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.body[1].reset_running_stats()
    loss = F.cross_entropy(net(X), Y)
    measure(net, (X, Y))
    loss.backward()
    for parameter, gradient in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_hooks_of_the_user_stay_and_those_for_accumulated_gradients_do_not_fire():
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3))
    fired = []
    model[0].weight.register_post_accumulate_grad_hook(lambda p: fired.append("accumulated"))
    model[0].register_forward_hook(lambda *_: fired.append("forward"))
    model[1].register_forward_pre_hook(lambda *_: fired.append("pre"), prepend=True)
    model[1].register_full_backward_hook(lambda *_: None)
    before = state(model)["hooks"]
    measure(model, (X, Y))
    assert fired == ["forward", "pre"]
    assert state(model)["hooks"] == before
    fired.clear()
    F.cross_entropy(model(X), Y).backward()
    assert fired == ["forward", "pre", "accumulated"]


def test_an_optimizer_in_the_backward_pass_does_not_step():
    model = nn.Linear(6, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)

    def step(parameter):
        optimizer.step()

    model.weight.register_post_accumulate_grad_hook(step)
    before = model.weight.detach().clone()
    measure(model, (X, Y))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize("given", [True, False])
def test_a_model_that_runs_backward_itself_keeps_its_gradients(given):
    class Greedy(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

        def forward(self, x):
            hidden = self.a(x)
            hidden.square().mean().backward()
            return self.b(hidden.detach())

    model = Greedy()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter) if given else None
    before = state(model)["gradients"]
    measure(model, (X, Y))
    assert state(model)["gradients"] == before


def test_a_global_seed_gives_the_same_numbers_after_it():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    measure(model, (X, Y))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("view", ["transposed", "strided", "channels_last"])
def test_parameters_of_every_memory_layout_are_restored(view):
    base = torch.randn(4, 4, 3, 3)
    channels_last = base.contiguous(memory_format=torch.channels_last)
    value = {"transposed": base.transpose(0, 1), "strided": base[::2], "channels_last": channels_last}[view]
    holder = nn.ParameterList([nn.Parameter(value)])
    expected, stride = value.clone(), value.stride()
    with preserved(holder), torch.no_grad():
        holder[0].mul_(2)
    assert torch.equal(holder[0], expected)
    assert holder[0].stride() == stride


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float64,
                                   torch.complex64, torch.complex128, torch.float8_e4m3fn])  # fmt: skip
def test_buffers_of_every_dtype_are_restored(dtype):
    model = nn.Linear(1, 1)
    model.register_buffer("held", torch.ones(3).to(dtype))
    held = model.held
    with preserved(model):
        model.held.copy_(torch.zeros(3).to(dtype))
    assert model.held is held
    assert torch.equal(model.held.to(torch.complex128), torch.ones(3, dtype=torch.complex128))


@pytest.mark.parametrize("value", [float("nan"), -0.0])
def test_values_are_compared_by_their_bits(value):
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.bias.fill_(value)
    version = model.bias._version
    bits = model.bias.detach().view(torch.int32).item()
    with preserved(model), torch.no_grad():
        model.bias.data.fill_(0.0 if value == 0 else 1.0)
    assert model.bias.detach().view(torch.int32).item() == bits
    assert model.bias._version == version


def test_a_buffer_that_became_part_of_the_graph_leaves_it():
    class Leaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 3)
            self.register_buffer("mean", torch.zeros(3))

        def forward(self, x):
            out = self.fc(x)
            self.mean.lerp_(out.mean(0), 0.1)
            return out - self.mean

    model = Leaking()
    measure(model, (X, Y))
    assert not model.mean.requires_grad
    assert model.mean.grad_fn is None
    assert model.mean.abs().max() == 0


def test_sparse_buffers_are_restored():
    model = nn.Linear(1, 1)
    model.register_buffer("adjacency", torch.eye(3).to_sparse())
    with preserved(model):
        model.adjacency.mul_(2)
    assert torch.equal(model.adjacency.to_dense(), torch.eye(3))


def test_memory_that_was_swapped_away_comes_back():
    model = nn.Linear(3, 2)
    pointer = model.weight.data_ptr()
    with preserved(model):
        model.weight.data = torch.zeros(5, dtype=torch.float64)
    assert (model.weight.data_ptr(), model.weight.shape, model.weight.dtype) == (pointer, (2, 3), torch.float32)


def test_what_one_restoration_cannot_do_does_not_stop_the_others():
    """A buffer whose elements share memory cannot be written back; everything else is."""
    model = nn.Linear(2, 1)
    model.register_buffer("shared", torch.zeros(1).expand(3))
    weight, before = model.weight.detach().clone(), torch.get_rng_state()

    def body():
        with preserved(model), torch.no_grad():
            model.weight.mul_(torch.rand(1))
            model.shared[:1].fill_(1)

    with pytest.raises(RuntimeError, match="single memory location"):
        body()
    assert torch.equal(model.weight, weight)
    assert torch.equal(torch.get_rng_state(), before)
