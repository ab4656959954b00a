"""Which BatchNorms `accelerate_` leaves as they are, and what it says of them."""

import copy

import pytest
import torch
from operated.networks import OneBlock
from operated.state import assert_same_state, state
from torch import nn

from evenflow import norm
from evenflow.norm import accelerate_


def twice(self, y):
    z = self.bn(y)
    return self.act(z) + z


def squared(self, y):
    return self.bn(y) ** 2


def added_number(self, y):
    return self.act(self.bn(y) + 1)


def scaled_sum(self, y):
    return self.act(torch.add(self.bn(y), y, alpha=2))


def sum_read_twice(self, y):
    z = self.bn(y) + y
    return self.act(z) * z


def itself_added(self, y):
    z = self.bn(y)
    return self.act(z + z)


def written_into_another(self, y):
    z = y * 1
    z += self.bn(y)
    return self.act(z)


def input_overwritten(self, y):
    z = self.bn(y)
    return self.act(z + y.mul_(2))


def called_again(self, y):
    z = self.bn(y)
    return self.act(z + self.bn(y * 2).abs())


def without_gradient(self, y):
    with torch.no_grad():
        z = self.bn(y)
    return self.act(z)


def asks_type(self, y):
    return self.act(self.bn(y)) if isinstance(y, torch.Tensor) else y


def asks_values(self, y):
    return self.act(self.bn(y)) if y.sum() > 0 else self.act(self.bn(-y))


def remembers(self, y):
    self.last = self.bn(y)
    return self.act(self.last)


def random_choice(self, y):
    import random

    return self.act(self.bn(y)) if random.random() < 2 else y


def random_noise(self, y):
    return self.act(self.bn(y)) + torch.randn(1)


def gives_record(self, y):
    from collections import OrderedDict

    class Record(OrderedDict):
        pass

    return Record(out=self.act(self.bn(y)))["out"]


def gelu_tanh(self, y):
    return torch.nn.functional.gelu(self.bn(y), approximate="tanh")


def output_first(self, y):
    return self.bn(y)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        (twice, "read 2 times"),
        (squared, "pow follows, which is no activation"),
        (added_number, "something else than one residual"),
        (scaled_sum, "something else than one residual"),
        (sum_read_twice, "the sum behind it is read 2 times"),
        (itself_added, "something else than one residual"),
        (written_into_another, "added in place to that of mul"),
        (input_overwritten, "overwritten before its output is used"),
        (called_again, "called again before"),
        (without_gradient, "switches gradients"),
        (asks_type, "asks for the type"),
        (asks_values, "cannot be followed"),
        (remembers, "changes its attribute last"),
        (random_choice, "draws random numbers"),
        (random_noise, "computes randn"),
        (gelu_tanh, "gelu_tanh follows"),
        (output_first, "leaves the module"),
    ],
)
def test_what_is_kept_and_why(after, reason):
    torch.manual_seed(0)
    model, x = OneBlock(after), torch.randn(4, 3, 5, 5)
    before = state(model)
    acceleration = accelerate_(model, None if after is input_overwritten else x)
    assert_same_state(before, state(model))
    assert acceleration.fused == ()
    assert reason in str(acceleration.kept[0])


def test_a_record_is_given_back_as_it_was():
    """A dict subclass would come out of the graph as a plain dict."""
    model, x = OneBlock(gives_record), torch.randn(4, 3, 5, 5)
    acceleration = accelerate_(model, x)
    torch.testing.assert_close(model(x), copy.deepcopy(model)(x))
    assert len(acceleration.fused) == 1  # the record never left the forward


class Ours(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Ours(4), "its forward is its own|whose forward is its own"),
        (nn.SyncBatchNorm(4), "runs on GPUs only"),
        (nn.LazyBatchNorm2d(), "lazy"),
        (norm.BatchNorm2d(4, activation="relu"), "applies relu itself"),
    ],
)
def test_which_layers_are_kept(layer, reason):
    model = OneBlock(lambda self, y: self.act(self.bn(y)), norm=layer)
    acceleration = accelerate_(model)
    assert acceleration.fused == ()
    (kept,) = acceleration.kept
    assert any(part in kept.reason for part in reason.split("|"))


@pytest.mark.parametrize("which", ["bn", "act"])
@pytest.mark.parametrize("kind", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"])
def test_a_hooked_value_is_kept(which, kind):
    model = OneBlock(lambda self, y: self.act(self.bn(y)))
    getattr(getattr(model, which), kind)(lambda *args: None)
    acceleration = accelerate_(model)
    assert acceleration.fused == ()
    assert "a hook looks at" in acceleration.kept[0].reason
