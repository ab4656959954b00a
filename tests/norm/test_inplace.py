"""Normalisation over the memory of its input: the same numbers, and nothing kept."""

import pytest
import torch
from torch import nn

from evenflow.errors import ParameterValueError
from evenflow.kernels import batch_norm as kernels
from evenflow.norm import BatchNorm1d, BatchNorm2d


@pytest.fixture(params=["formula", "kernel"], autouse=True)
def way(request, monkeypatch):
    monkeypatch.setattr(kernels, "WORTH_LOADING", 1 if request.param == "kernel" else 10**12)


def twins(activation, **settings):
    torch.manual_seed(1)
    layers = [BatchNorm2d(6, activation=activation, inplace=inplace, **settings).double() for inplace in (True, False)]
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(torch.linspace(-2.2, 3, 6))
            layer.bias.copy_(torch.linspace(-1, 1, 6))
    return layers


@pytest.mark.parametrize("activation", [None, "leaky_relu"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gives_the_same_numbers_and_overwrites_its_input(activation, layout):
    here, apart = twins(activation)
    leaf = torch.randn(5, 6, 4, 3, dtype=torch.float64).mul(3).add(100).to(memory_format=layout).requires_grad_()
    results = []
    for layer in (here, apart):
        x = leaf * 1.0
        y = layer(x)
        assert (y.data_ptr() == x.data_ptr()) == layer.inplace
        results.append((y.detach().clone(), *torch.autograd.grad((y**3).sum(), (leaf, *layer.parameters()))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(here.running_mean, apart.running_mean)
    torch.testing.assert_close(here.running_var, apart.running_var)


def test_keeps_nothing_of_the_size_of_the_batch_but_its_output():
    kept = set()
    layer = BatchNorm1d(64, activation="leaky_relu", inplace=True)
    x = torch.randn(512, 64, requires_grad=True) * 1.0
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.add((t.data_ptr(), t.numel())) or t, lambda t: t):
        y = layer(x)
    assert {numel for address, numel in kept if address != y.data_ptr()} == {64, 128}


def test_a_call_whose_input_cannot_be_recovered_is_an_ordinary_one():
    here, apart = twins("leaky_relu")
    with torch.no_grad():
        here.weight[2] = apart.weight[2] = 0
    leaf = torch.randn(5, 6, 4, 3, dtype=torch.float64, requires_grad=True)
    for layer in (here, apart):
        x = leaf * 1.0
        before = x.detach().clone()
        layer(x).sum().backward()
        assert torch.equal(x, before)
    torch.testing.assert_close(here.weight.grad, apart.weight.grad)


@pytest.mark.parametrize("case", ["leaf", "no_grad", "eval", "residual", "strided"])
def test_other_calls_leave_the_input_alone(case):
    here, apart = twins(None)
    leaf = torch.randn(5, 6, 4, 8, dtype=torch.float64, requires_grad=True)
    x = leaf if case == "leaf" else leaf * 1.0
    x = x[..., ::2] if case == "strided" else x
    before = x.detach().clone()
    here.train(case != "eval")
    apart.train(case != "eval")
    residual = (torch.ones_like(x),) if case == "residual" else ()
    with torch.set_grad_enabled(case != "no_grad"):
        torch.testing.assert_close(here(x, *residual), apart(x, *residual))
    assert torch.equal(x, before)


def test_an_input_that_another_layer_needs_is_refused_by_autograd():
    here, _ = twins(None)
    x = torch.randn(5, 6, 4, 3, dtype=torch.float64, requires_grad=True).exp()  # exp keeps its output
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        here(x).sum().backward()


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "silu", "gelu", "hardswish"])
def test_an_activation_that_cannot_be_inverted_is_refused(activation):
    with pytest.raises(ParameterValueError, match="inplace=True needs an activation that can be inverted"):
        BatchNorm2d(3, activation=activation, inplace=True)


def test_trains_like_the_ordinary_layer():
    losses = []
    for inplace in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(8, 32), BatchNorm1d(32, activation="leaky_relu", inplace=inplace), nn.Linear(32, 1)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(64, 8)
        for _ in range(20):
            optimizer.zero_grad()
            loss = (model(x) - x.prod(1, keepdim=True)).square().mean()
            loss.backward()
            optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
