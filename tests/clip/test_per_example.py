"""Clipping by example, beside a loop over the examples."""

import math

import pytest
import torch
from torch import nn

from evenflow.clip import backward_per_example_
from evenflow.errors import BatchError, LossError, NoParametersError, ParameterTypeError, ParameterValueError

LOSS = nn.CrossEntropyLoss()


def setting(examples=7):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))
    inputs = torch.randn(examples, 1, 6) * torch.logspace(-1, 2, examples)[:, None, None]
    return model, inputs, torch.arange(examples) % 4


def one_by_one(model, inputs, targets, limit, *, mean=True):
    sums, norms = [torch.zeros_like(p) for p in model.parameters()], []
    for example, target in zip(inputs, targets, strict=True):
        gradients = torch.autograd.grad(LOSS(model(example[None]), target[None]), list(model.parameters()))
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
        norms.append(norm)
        for total, gradient in zip(sums, gradients, strict=True):
            total.add_(gradient, alpha=min(1.0, limit / norm if norm else 1.0))
    return [total / (len(inputs) if mean else 1) for total in sums], norms


@pytest.mark.parametrize("chunk_size", [None, 1, 3, 100])
@pytest.mark.parametrize("limit", [0.5, 3.0, math.inf])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_each_example_is_clipped_by_its_own_norm(limit, chunk_size, reduction):
    model, inputs, targets = setting()
    wanted, norms = one_by_one(model, inputs, targets, limit, mean=reduction == "mean")
    done = backward_per_example_(model, LOSS, inputs, targets, limit, chunk_size=chunk_size, reduction=reduction)
    assert done.norms.tolist() == pytest.approx(norms, rel=1e-5)
    assert done.clipped == pytest.approx(sum(norm > limit for norm in norms) / 7)
    assert done.dropped == 0
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)


def test_without_a_limit_it_is_backward():
    model, inputs, targets = setting()
    LOSS(model(inputs), targets).backward()
    expected = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    done = backward_per_example_(model, LOSS, inputs, targets, math.inf)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-6)
    assert float(done.losses.mean()) == pytest.approx(float(LOSS(model(inputs), targets).detach()), rel=1e-5)


def test_gradients_are_added_to_those_that_are_there():
    model, inputs, targets = setting()
    backward_per_example_(model, LOSS, inputs, targets, 1.0)
    once = [parameter.grad.clone() for parameter in model.parameters()]
    backward_per_example_(model, LOSS, inputs, targets, 1.0)
    for parameter, gradient in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * gradient)


def test_an_example_that_is_not_finite_counts_as_zero():
    model, inputs, targets = setting()
    wanted, _ = one_by_one(model, inputs[1:], targets[1:], 1.0, mean=False)
    inputs[0, 0, 0] = math.nan
    done = backward_per_example_(model, LOSS, inputs, targets, 1.0)
    assert done.dropped == 1
    for parameter, gradient in zip(model.parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient / 7, rtol=1e-4, atol=1e-6)


def test_frozen_parameters_and_buffers_stay_as_they_are():
    model, inputs, targets = setting()
    model.insert(1, nn.BatchNorm1d(3))
    model.eval()
    model[0].requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    backward_per_example_(model, LOSS, inputs, targets, 1.0)
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_dropout_draws_for_each_example():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False))
    done = backward_per_example_(model, nn.MSELoss(), torch.ones(2, 64), torch.ones(2, 1), 1.0)
    assert done.norms[0] != done.norms[1]


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"max_norm": -1.0}, ParameterValueError, "max_norm"),
        ({"reduction": "none"}, ParameterValueError, "reduction"),
        ({"chunk_size": 0}, ParameterValueError, "chunk_size"),
        ({"inputs": [1.0]}, ParameterTypeError, "inputs"),
        ({"inputs": torch.empty(0, 1, 6)}, BatchError, "inputs"),
        ({"targets": torch.tensor([1])}, BatchError, "as many"),
        ({"loss_fn": nn.CrossEntropyLoss(reduction="none")}, LossError, "scalar"),
        ({"model": nn.ReLU()}, NoParametersError, "no parameter"),
        ({"model": 3}, ParameterTypeError, "model"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(change, error, named):
    model, inputs, targets = setting()
    arguments = {"model": model, "loss_fn": LOSS, "inputs": inputs, "targets": targets, "max_norm": 1.0} | change
    with pytest.raises(error, match=named):
        backward_per_example_(**arguments)
    assert all(parameter.grad is None for parameter in model.parameters())
