"""What each policy promises, over gradients with everything that a float can be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evenflow.clip import NormClipper, clip_grad_norm_, clip_grad_value_
from evenflow.errors import NonFiniteError

SPECIAL = [0.0, -0.0, 1e-45, -1e-40, 1e30, -3e38, math.nan, math.inf, -math.inf]
entries = st.one_of(st.floats(width=32), st.sampled_from(SPECIAL))
gradient_lists = st.lists(st.lists(entries, min_size=1, max_size=6), min_size=1, max_size=4)
limits = st.sampled_from([0.0, 1e-3, 1.0, 1e20, math.inf])


def finite(gradients):
    return all(math.isfinite(value) for values in gradients for value in values)


def same(parameters, before):
    return all(
        torch.equal(p.grad.nan_to_num(nan=7.0), b.nan_to_num(nan=7.0)) for p, b in zip(parameters, before, strict=True)
    )


@settings(max_examples=150)
@given(gradients=gradient_lists, limit=limits, policy=st.sampled_from(["leave", "skip", "zero", "raise"]))
def test_by_norm_each_policy_keeps_its_promise(gradients, limit, policy, with_gradients):
    before = [torch.tensor(values) for values in gradients]
    parameters = with_gradients(*before)
    if finite(gradients):
        assert math.isfinite(clip_grad_norm_(parameters, limit, nonfinite=policy))
        return
    if policy == "raise":
        with pytest.raises(NonFiniteError):
            clip_grad_norm_(parameters, limit, nonfinite=policy)
        assert same(parameters, before)
        return
    norm = float(clip_grad_norm_(parameters, limit, nonfinite=policy))
    if policy == "leave":
        assert same(parameters, before)
    if policy == "skip":
        assert all(parameter.grad is None for parameter in parameters)
    if policy == "zero":
        scale = min(1.0, limit / norm) if norm else 1.0
        for parameter, gradient in zip(parameters, before, strict=True):
            kept = torch.where(gradient.isfinite(), gradient, 0.0).double() * scale
            torch.testing.assert_close(parameter.grad.double(), kept, rtol=1e-5, atol=1e-44)
    else:
        assert not math.isfinite(norm)


@settings(max_examples=150)
@given(gradients=gradient_lists, policy=st.sampled_from(["leave", "skip", "zero", "raise"]))
def test_by_value_each_policy_keeps_its_promise(gradients, policy, with_gradients):
    before = [torch.tensor(values) for values in gradients]
    parameters = with_gradients(*before)
    has_nan = any(math.isnan(value) for values in gradients for value in values)
    if policy == "raise" and not finite(gradients):
        with pytest.raises(NonFiniteError):
            clip_grad_value_(parameters, 1.0, nonfinite=policy)
        assert same(parameters, before)
        return
    clip_grad_value_(parameters, 1.0, nonfinite=policy)
    if has_nan and policy == "skip":
        assert all(parameter.grad is None for parameter in parameters)
    elif has_nan and policy == "leave":
        assert same(parameters, before)
    else:
        for parameter, gradient in zip(parameters, before, strict=True):
            assert torch.equal(parameter.grad, torch.where(gradient.isnan(), 0.0, gradient).clamp(-1, 1))


@settings(max_examples=100)
@given(steps=st.lists(gradient_lists, min_size=1, max_size=5), per=st.sampled_from(["model", "parameter"]))
def test_a_clipper_lets_nothing_through_that_is_not_finite_or_too_large(steps, per, with_gradients):
    longest = max(map(len, steps))
    parameters = with_gradients(*[torch.zeros(6)] * longest)
    clipper = NormClipper(parameters, 1.0, per=per)
    for gradients in steps:
        for parameter, values in zip(parameters, gradients + [[0.0]] * longest, strict=False):
            parameter.grad = torch.tensor(values + [0.0] * (6 - len(values)))
        report = clipper.step()
        assert report.skipped == (not finite(gradients))
        if report.skipped:
            assert all(parameter.grad is None for parameter in parameters)
            assert report.nonfinite_count == sum(not finite([values]) for values in gradients)
            continue
        sizes = [float(parameter.grad.double().norm()) for parameter in parameters]
        assert max(sizes) <= 1 + 1e-6
        if per == "model":
            assert math.hypot(*sizes) <= 1 + 1e-6
        assert report.clipped_norm == pytest.approx(math.hypot(*sizes), rel=1e-5, abs=1e-37)
