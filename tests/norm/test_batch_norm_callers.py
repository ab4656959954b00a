"""Calls that are not ordinary: recorded, wrapped, batched, of views, of odd strides. Each on both ways."""

import pytest
import torch
from torch import library
from torch.testing._internal.two_tensor import TwoTensor

from evenflow.errors import NonFiniteError
from evenflow.kernels import batch_norm as kernels
from evenflow.norm import BatchNorm1d, BatchNorm2d, batch_norm, operators


@pytest.fixture(params=["torch's kernel", "ours"], autouse=True)
def way(request, monkeypatch):
    monkeypatch.setattr(kernels, "WORTH_LOADING", 1 if request.param == "ours" else 10**12)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("training", [True, False])
def test_a_recorded_call_computes_again(training):
    layer = BatchNorm2d(4, activation="relu").train(training)
    x, other = torch.randn(2, 6, 4, 3, 3)
    with torch.no_grad():
        traced = torch.jit.trace(layer, x, check_trace=False)
        torch.testing.assert_close(traced(other), layer(other))


@pytest.mark.parametrize(
    "odd",
    [
        lambda x: x[:, :, ::2, ::2],
        lambda x: x[:, :, :1, :1],
        lambda x: x.flatten(2)[:, :, :1],
        lambda x: x.transpose(2, 3),
        lambda x: x.permute(2, 3, 1, 0),
        lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    ],
    ids=["every other", "one value", "one column", "turned", "permuted", "channels first"],
)
def test_odd_strides(odd):
    x = odd(torch.randn(8, 5, 2, 2, dtype=torch.float64))
    y = batch_norm(x, None, None, training=True, activation="silu")
    torch.testing.assert_close(y, batch_norm(x.contiguous(), None, None, training=True, activation="silu"))
    library.opcheck(operators.batch_norm, (x.requires_grad_(), None, None, None, None, 1e-5, "silu"))


def test_tensors_that_wrap_others():
    a, b = torch.randn(64, 8), torch.randn(64, 8)
    layer = BatchNorm1d(8, activation="relu").eval()
    both = layer(TwoTensor(a, b))
    torch.testing.assert_close(both.a, layer(a))
    torch.testing.assert_close(both.b, layer(b))


def test_several_gradients_at_once():
    x = torch.randn(16, 8, dtype=torch.float64, requires_grad=True)
    y = BatchNorm1d(8, activation="tanh").double()(x)
    directions = torch.randn(3, *y.shape, dtype=torch.float64)
    (together,) = torch.autograd.grad(y, x, directions, is_grads_batched=True, retain_graph=True)
    for one, direction in zip(together, directions, strict=True):
        torch.testing.assert_close(one, torch.autograd.grad(y, x, direction, retain_graph=True)[0])


def test_a_penalty_on_the_gradient_of_the_input_as_a_function():
    x, weight = torch.randn(12, 3, dtype=torch.float64), torch.rand(3, dtype=torch.float64)

    def loss(x):
        return (batch_norm(x, None, None, weight, training=True, activation="tanh") ** 3).sum()

    found = torch.func.grad(lambda x: (torch.func.grad(loss)(x) ** 2).sum())(x)
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(loss(leaf), leaf, create_graph=True)
    torch.testing.assert_close(found, torch.autograd.grad((first**2).sum(), leaf)[0])


@pytest.mark.parametrize("training", [True, False])
def test_a_wider_residual_does_not_widen_the_output(training):
    x, residual = torch.randn(64, 8).bfloat16(), torch.randn(64, 8)
    statistics = (torch.zeros(8), torch.ones(8))
    assert batch_norm(x, *statistics, training=training, residual=residual).dtype == torch.bfloat16


def test_negated_views():
    x = torch._neg_view(torch.randn(64, 8))
    torch.testing.assert_close(
        batch_norm(x, None, None, training=True), batch_norm(x.resolve_neg(), None, None, training=True)
    )


@pytest.mark.parametrize("case", ["view", "half", "eval without statistics", "may be refused"])
def test_inplace_leaves_what_it_must_not_overwrite(case):
    layer = BatchNorm1d(
        8,
        inplace=True,
        track_running_stats=case != "eval without statistics",
        on_nonfinite="raise" if case == "may be refused" else "propagate",
    ).train(case != "eval without statistics")
    x = torch.randn(64, 8, requires_grad=True) * 1.0
    x = x.view(64, 8) if case == "view" else x.bfloat16() if case == "half" else x
    before = x.detach().clone()
    layer(x).sum().backward()
    assert torch.equal(x, before)


def test_inplace_leaves_a_batch_that_is_refused():
    x = torch.full((64, 8), torch.nan, requires_grad=True) * 1.0
    with pytest.raises(NonFiniteError):
        BatchNorm1d(8, inplace=True, on_nonfinite="raise")(x)
    assert x.isnan().all()
