"""Clippers under a GradScaler: gradients are unscaled before they are clipped, or the clipper refuses."""

import pytest
import torch
from torch import nn

from evenflow.clip import NormClipper
from evenflow.errors import NonFiniteError, ParameterTypeError, ScaledGradientsError

SCALE = 1024.0
INPUTS = torch.ones(3, 4)


def setting(fused=False):
    torch.manual_seed(0)
    model = nn.Linear(4, 2)
    optimizer = (
        torch.optim.AdamW(model.parameters(), 0.1, fused=True) if fused else torch.optim.SGD(model.parameters(), 0.1)
    )
    return model, optimizer, torch.amp.GradScaler("cpu", init_scale=SCALE)


def backward(model, scaler, bad=False):
    model.zero_grad()
    scaler.scale(model(INPUTS).square().sum() * (float("inf") if bad else 1.0)).backward()


def true_norm():
    model, *_ = setting()
    model(INPUTS).square().sum().backward()
    return float(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]).norm())


def test_gradients_are_unscaled_before_they_are_clipped():
    model, optimizer, scaler = setting()
    clipper = NormClipper(model, 1.0, scaler=scaler)
    backward(model, scaler)
    assert clipper.step(optimizer).norm == pytest.approx(true_norm(), rel=1e-5)
    scaler.step(optimizer)
    scaler.update()


def test_what_the_loop_has_unscaled_already_is_left_as_it_is():
    model, optimizer, scaler = setting()
    clipper = NormClipper(model, 1.0, scaler=scaler)
    backward(model, scaler)
    scaler.unscale_(optimizer)
    assert clipper.step(optimizer).norm == pytest.approx(true_norm(), rel=1e-5)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_attached_it_sees_unscaled_gradients_whoever_unscales_them(fused, known):
    model, optimizer, scaler = setting(fused)
    clipper = NormClipper(model, 1.0, scaler=scaler if known else None)
    clipper.attach(optimizer)
    before = model.weight.detach().clone()
    backward(model, scaler)
    scaler.step(optimizer)
    scaler.update()
    assert clipper.last_report.norm == pytest.approx(true_norm(), rel=1e-5)
    moved = float((model.weight.detach() - before).norm())
    assert (
        0 < moved < 0.5
    )  # a scaled gradient would have moved it by far more, one scaled down twice by next to nothing
    if not fused:
        assert moved == pytest.approx(0.1 * float(model.weight.grad.norm()), rel=1e-4)


@pytest.mark.parametrize("fused", [False, True])
def test_a_fused_optimizer_steps_as_without_a_scaler(fused):
    scaled, optimizer, scaler = setting(fused)
    NormClipper(scaled, 1.0, scaler=scaler).attach(optimizer)
    plain, other, _ = setting(fused)
    NormClipper(plain, 1.0).attach(other)
    for _ in range(3):
        backward(scaled, scaler)
        scaler.step(optimizer)
        scaler.update()
        plain.zero_grad()
        plain(INPUTS).square().sum().backward()
        other.step()
    torch.testing.assert_close(scaled.weight, plain.weight, rtol=1e-5, atol=1e-6)


def test_an_optimizer_called_past_the_scaler_is_unscaled_for():
    model, optimizer, scaler = setting()
    clipper = NormClipper(model, 1.0, scaler=scaler)
    clipper.attach(optimizer)
    backward(model, scaler)
    optimizer.step()
    assert clipper.last_report.norm == pytest.approx(true_norm(), rel=1e-5)


def test_without_knowing_the_optimizer_it_refuses():
    model, _, scaler = setting()
    clipper = NormClipper(model, 1.0, scaler=scaler)
    backward(model, scaler)
    before = model.weight.grad.clone()
    with pytest.raises(ScaledGradientsError, match=r"clipper\.step\(optimizer\)"):
        clipper.step()
    assert torch.equal(model.weight.grad, before)


def test_after_the_step_it_is_too_late():
    model, optimizer, scaler = setting()
    clipper = NormClipper(model, 1.0, scaler=scaler)
    backward(model, scaler)
    scaler.step(optimizer)
    with pytest.raises(ScaledGradientsError, match="too late"):
        clipper.step(optimizer)


def test_parameters_of_another_optimizer_would_stay_scaled():
    model, _, scaler = setting()
    clipper = NormClipper(model, 1.0, scaler=scaler)
    backward(model, scaler)
    with pytest.raises(ScaledGradientsError, match="a clipper for each optimizer"):
        clipper.step(torch.optim.SGD([model.weight], 0.1))


@pytest.mark.parametrize("policy", ["skip", "raise", "zero"])
@pytest.mark.parametrize("fused", [False, True])
def test_what_the_scaler_found_to_overflow_is_left_to_the_scaler(policy, fused):
    model, optimizer, scaler = setting(fused)
    clipper = NormClipper(model, 1.0, nonfinite=policy, scaler=scaler)
    before = model.weight.detach().clone()
    backward(model, scaler, bad=True)
    assert clipper.step(optimizer).skipped
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(model.weight, before)
    assert scaler.get_scale() == SCALE / 2


def test_a_disabled_scaler_is_no_scaler():
    model, optimizer, _ = setting()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    clipper = NormClipper(model, 1.0, nonfinite="raise", scaler=scaler)
    backward(model, scaler)
    assert clipper.step().norm == pytest.approx(true_norm(), rel=1e-5)
    model.weight.grad[0, 0] = float("nan")
    with pytest.raises(NonFiniteError):
        clipper.step()
    with pytest.raises(ParameterTypeError, match="scaler"):
        NormClipper(model, 1.0, scaler=optimizer)
