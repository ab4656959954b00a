"""What all clippers have in common: reports, history, policies, state, and the way into an optimizer."""

import io
import math

import pytest
import torch
from torch import nn

from evenflow.clip import AdaptiveClipper, AutoClipper, NormClipper, ValueClipper, ZClipper, clip_grad_norm_
from evenflow.errors import HistoryError, NonFiniteError, ParameterTypeError, ParameterValueError, StateError

NAN, INF = math.nan, math.inf
CLIPPERS = {
    "norm": lambda model, **options: NormClipper(model, 1.0, **options),
    "layer": lambda model, **options: NormClipper(model, 0.5, per="layer", **options),
    "value": lambda model, **options: ValueClipper(model, 0.1, **options),
    "adaptive": lambda model, **options: AdaptiveClipper(model, 0.05, **options),
    "auto": lambda model, **options: AutoClipper(model, 40.0, **options),
    "z": lambda model, **options: ZClipper(model, 1.0, warmup=3, **options),
}
every_clipper = pytest.mark.parametrize("make", CLIPPERS.values(), ids=CLIPPERS)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))


def with_gradients(model, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = size * torch.randn(parameter.shape, generator=generator)
    return model


def norm_of(model):
    return math.sqrt(sum(float(p.grad.double().square().sum()) for p in model.parameters() if p.grad is not None))


@every_clipper
def test_a_report_tells_the_norm_before_and_after(make):
    model = network()
    clipper = make(model)
    for step, size in enumerate([1.0, 1.1, 0.9, 50.0, 0.01], 1):
        before = norm_of(with_gradients(model, size, step))
        report = clipper.step()
        assert report.step == step
        assert report.norm == pytest.approx(before, rel=1e-6)
        assert report.clipped_norm == pytest.approx(norm_of(model), rel=1e-5)
        assert report.fired == (report.clipped > 0)
        assert report.fired == (report.factor < 1)
        assert report.clipped <= report.parts
        assert report.fired == (report.measure > report.threshold)
        assert not report.nonfinite
        assert not report.skipped
    assert clipper.history[3].fired
    assert clipper.last_report is report
    assert clipper.clip_rate == report.rate == sum(r.fired for r in clipper.history) / 5
    assert (clipper.steps, clipper.fired, clipper.skipped) == (5, sum(r.fired for r in clipper.history), 0)


@every_clipper
def test_peers_asked_for_how_often_clipping_fired_and_for_which_parameter(make):
    model = with_gradients(network(), 0.01)
    model[2].weight.grad *= 1e6
    report = make(model).step()
    name, share = report.largest[0]
    assert name == "2.weight"
    assert share == pytest.approx(1.0, abs=1e-6)
    assert sum(share for _, share in report.largest) == pytest.approx(1.0)
    assert "2.weight 100%" in str(report)


@every_clipper
def test_a_report_is_a_flat_dict_of_floats(make):
    model = with_gradients(network(), 9.0)
    told = make(model).step().to_dict("train/clip/")
    assert all(type(value) is float for value in told.values())
    assert told["train/clip/norm"] > 1
    assert told["train/clip/share/0.weight"] > 0
    assert all(key.startswith("train/clip/") for key in told)


@every_clipper
def test_the_history_is_bounded(make):
    model = network()
    clipper = make(model, history=3)
    for seed in range(7):
        with_gradients(model, 5.0 if seed > 3 else 1e-9, seed)
        clipper.step()
    assert [report.step for report in clipper.history] == [5, 6, 7]
    assert clipper.steps == 7
    assert clipper.clip_rate == sum(report.fired for report in clipper.history) / 3
    alone = make(model, history=1)
    alone.step()
    with_gradients(model, 1e-12)
    assert alone.step().rate in {0.0, 1.0}


@every_clipper
def test_skip_leaves_the_optimizer_nothing_to_do(make):
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.5)
    clipper = make(model)
    with_gradients(model, 1.0)
    optimizer.step()
    before = [parameter.clone() for parameter in model.parameters()]
    with_gradients(model, 1.0)
    model[2].weight.grad[0, 0] = NAN
    report = clipper.step()
    optimizer.step()
    assert report.skipped
    assert report.nonfinite == ("2.weight",)
    assert math.isnan(report.norm)
    assert clipper.skipped == 1
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
    assert "not finite: 2.weight" in str(report)


@every_clipper
def test_zero_drops_only_the_bad_entries(make):
    model = with_gradients(network(), 1e-4)
    model[0].bias.grad[2] = INF
    report = make(model, nonfinite="zero").step()
    assert report.nonfinite == ("0.bias",)
    assert not report.skipped
    assert model[0].bias.grad[2] == 0
    assert model[0].bias.grad[1] != 0
    assert math.isinf(report.norm)
    assert math.isfinite(report.clipped_norm)


@every_clipper
def test_peers_asked_for_the_name_of_the_parameter_that_is_not_finite(make):
    model = with_gradients(network(), 1.0)
    model[4].bias.grad[0] = NAN
    before = [parameter.grad.clone() for parameter in model.parameters()]
    clipper = make(model, nonfinite="raise")
    state = clipper.state_dict()
    with pytest.raises(NonFiniteError, match=r"1 of 6 gradients are not finite: '4\.bias' of shape \(2,\)"):
        clipper.step()
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0, equal_nan=True)
    assert clipper.state_dict() == state


@every_clipper
@pytest.mark.parametrize("bad", [NAN, INF])
def test_leave_changes_nothing_and_propagate_lets_the_bad_entry_pass(make, bad):
    model = with_gradients(network(), 1.0)
    model[0].weight.grad[0, 0] = bad
    before = [parameter.grad.clone() for parameter in model.parameters()]
    make(model, nonfinite="leave").step()
    for parameter, gradient in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=0, atol=0, equal_nan=True)
    report = make(model, nonfinite="propagate").step()
    assert report.nonfinite == ("0.weight",)
    changed = float(model[0].weight.grad[0, 0])
    assert math.isnan(changed) or changed == pytest.approx(0.1) or changed == bad


def run(model, clipper, optimizer, steps):
    decisions = []
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        inputs = torch.randn(8, 4, generator=generator) * (30.0 if step % 7 == 3 else 1.0)
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        if step % 11 == 5:
            model[0].weight.grad[0, 0] = NAN
        report = clipper.step()
        decisions.append((report.norm, report.clipped_norm, report.fired, report.skipped, report.threshold))
        optimizer.step()
    return repr(decisions)


@every_clipper
def test_peers_state_is_serialisable_and_resumed_training_decides_alike(make):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    whole = run(model, make(model), optimizer, range(40))

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    clipper = make(model, history=6)
    first = run(model, clipper, optimizer, range(17))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "clipper": clipper.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)

    model = network(1)
    model.load_state_dict(saved["model"])
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    resumed = make(model, history=6)
    resumed.load_state_dict(saved["clipper"])
    assert repr(resumed.history) == repr(clipper.history)
    rest = run(model, resumed, optimizer, range(17, 40))
    assert first[:-1] + ", " + rest[1:] == whole
    assert resumed.steps == 40


@every_clipper
def test_a_state_of_another_kind_is_refused_and_changes_nothing(make):
    clipper = make(network())
    before = clipper.state_dict()
    other = NormClipper(network(), 3.0) if not isinstance(clipper, NormClipper) else ValueClipper(network(), 1.0)
    broken = [
        other.state_dict(),
        {},
        None,
        before | {"settings": {}},
        before | {"counts": 3},
        before | {"memory": {"x": 1}},
    ]
    broken += [before | {"history": [{"step": 1}]}, before | {"history": [3]}]
    for state in broken:
        with pytest.raises(StateError):
            clipper.load_state_dict(state)
    assert clipper.state_dict() == before


def test_settings_come_with_the_state():
    clipper = NormClipper(network(), 1.0)
    clipper.load_state_dict(NormClipper(network(), 7.0, 1.0, nonfinite="zero").state_dict())
    assert (clipper.max_norm, clipper.norm_type, clipper.nonfinite) == (7.0, 1.0, "zero")


@every_clipper
def test_attached_it_clips_before_every_step_of_the_optimizer(make):
    by_hand, attached = network(), network()
    clipper, hook = make(by_hand), make(attached)
    optimizers = [torch.optim.SGD(model.parameters(), 0.05) for model in (by_hand, attached)]
    handle = hook.attach(optimizers[1])
    for step in range(6):
        for model, optimizer in zip((by_hand, attached), optimizers, strict=True):
            with_gradients(model, 20.0 if step == 4 else 1.0, step)
            if model is by_hand:
                clipper.step()
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(by_hand.parameters(), attached.parameters(), strict=True))
    assert hook.steps == 6
    handle.remove()
    optimizers[1].step()
    assert hook.steps == 6
    hook.attach(optimizers[1])


def test_attached_it_clips_after_a_closure_has_computed_the_gradients():
    model = network()
    clipper = NormClipper(model, 1e-3)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    clipper.attach(optimizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]

    def closure():
        optimizer.zero_grad()
        loss = model(torch.ones(3, 4)).square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) > 0
    assert optimizer.step(closure=closure) > 0
    moved = math.sqrt(
        sum(float((a.detach() - b).square().sum()) for a, b in zip(model.parameters(), before, strict=True))
    )
    assert 1e-3 < moved <= 2.001e-3
    assert clipper.steps == 2


def test_what_cannot_be_attached_is_refused():
    model = network()
    clipper = NormClipper(model, 1.0)
    with pytest.raises(ParameterTypeError, match="optimizer"):
        clipper.attach(model)
    with pytest.raises(ParameterValueError, match="none of the clipper's parameters"):
        clipper.attach(torch.optim.SGD(network().parameters(), 0.1))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    clipper.attach(optimizer)
    with pytest.raises(ParameterValueError, match="attached"):
        clipper.attach(optimizer)
    clipper.detach()
    clipper.detach()
    assert not optimizer._optimizer_step_pre_hooks


@every_clipper
def test_accumulated_gradients_are_clipped_when_they_are_complete(make):
    model, whole = network(), network()
    clipper, other = make(model, accumulate=3), make(whole)
    inputs = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)) * 5
    reports = []
    for part in inputs.split(4):
        model(part).square().sum().backward()
        reports.append(clipper.step())
    whole(inputs).square().sum().backward()
    expected = other.step()
    assert reports[:2] == [None, None]
    assert reports[2].norm == pytest.approx(expected.norm, rel=1e-5)
    assert reports[2].fired == expected.fired
    for one, two in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)
    assert clipper.steps == 1


def test_a_half_accumulated_gradient_survives_a_stop():
    model = with_gradients(network(), 1.0)
    clipper, resumed = NormClipper(model, 1.0, accumulate=2), NormClipper(model, 1.0)
    assert clipper.step() is None
    resumed.load_state_dict(clipper.state_dict())
    assert resumed.step() is not None


@pytest.mark.parametrize("per", ["model", "layer", "parameter"])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, INF, 3.0])
def test_parts_are_clipped_each_by_its_own_norm(per, norm_type):
    ours, theirs = with_gradients(network(), 1.0), with_gradients(network(), 1.0)
    report = NormClipper(ours, 0.7, norm_type, per=per).step()
    parts = {"model": [theirs], "layer": [theirs[0], theirs[2], theirs[4]], "parameter": list(theirs.parameters())}[per]
    for part in parts:
        clip_grad_norm_(part, 0.7, norm_type, foreach=False)
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=1e-8)
    assert report.parts == len(parts)
    assert report.clipped == len(parts)


def clipper_groups(model):
    return [{"params": model[0].parameters()}, {"params": [*model[2].parameters(), *model[4].parameters()]}]


def test_groups_of_the_optimizer_have_thresholds_of_their_own():
    model = with_gradients(network(), 1.0)
    clipper = NormClipper(torch.optim.SGD(clipper_groups(model), 0.1), [0.5, 1e9], per="group")
    before = model[2].weight.grad.clone()
    report = clipper.step()
    assert norm_of(model[0]) == pytest.approx(0.5, rel=1e-5)
    assert torch.equal(model[2].weight.grad, before)
    assert (report.clipped, report.parts, report.threshold) == (1, 2, 0.5)
    with pytest.raises(ParameterValueError, match="one for each of the 2 groups"):
        NormClipper(torch.optim.SGD(clipper_groups(model), 0.1), [1.0, 2.0, 3.0], per="group")
    with pytest.raises(ParameterValueError, match="per='layer'"):
        NormClipper(model, [1.0, 2.0, 3.0], per="layer")


def test_a_part_beyond_float32_is_scaled_in_steps():
    model = with_gradients(network(), 1.0)
    model[0].weight.grad.fill_(3e38)
    NormClipper(model, 3.0, per="parameter").step()
    torch.testing.assert_close(model[0].weight.grad, torch.full((8, 4), 3 / math.sqrt(32)))


def test_peers_asked_for_thresholds_from_history():
    model = network()
    clipper = NormClipper(model, INF)
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(HistoryError, match="20 steps"):
        clipper.suggest()
    for step in range(300):
        size = float(torch.exp(0.3 * torch.randn((), generator=generator)))
        with_gradients(model, size * (100.0 if step % 50 == 7 else 1.0), 0)
        clipper.step()
    typical = norm_of(with_gradients(network(), 1.0))
    suggested = clipper.suggest()
    assert 1.8 * typical < suggested.threshold < 4 * typical  # exp(3 * 0.3) = 2.46
    assert suggested.rate == pytest.approx(6 / 300, abs=1e-9)
    assert "median of 300 steps" in str(suggested)


@pytest.mark.parametrize("source", ["model", "optimizer", "parameters", "pairs", "generator", "twice", "one"])
def test_parameters_may_be_what_is_at_hand(source):
    model = with_gradients(network(), 1.0)
    given = {
        "model": lambda: model,
        "optimizer": lambda: torch.optim.SGD(model.parameters(), 0.1),
        "parameters": lambda: list(model.parameters()),
        "pairs": model.named_parameters,
        "generator": model.parameters,
        "twice": lambda: [*model.parameters(), *model.parameters()],
        "one": lambda: model[0].weight,
    }[source]()
    report = NormClipper(given, 1.0).step()
    expected = float(model[0].weight.grad.norm()) if source == "one" else norm_of(model)
    assert expected == pytest.approx(1.0, rel=1e-5)
    named = {"model": "0.weight", "pairs": "0.weight", "optimizer": "group 0, parameter 0"}.get(source, "parameter 0")
    assert named in dict(report.largest)


def test_named_groups_of_an_optimizer_give_their_names():
    model = with_gradients(network(), 1.0)
    report = NormClipper(torch.optim.SGD(model.named_parameters(), 0.1), 1.0).step()
    assert "0.weight" in dict(report.largest)


@every_clipper
def test_parameters_without_gradient_are_passed_over(make):
    model = with_gradients(network(), 1.0)
    model[0].weight.grad = None
    report = make(model).step()
    assert "0.weight" not in dict(report.largest)
    bare = make(network())
    assert bare.step().norm == 0.0


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda m: NormClipper(m, -1.0), ParameterValueError, "max_norm"),
        (lambda m: NormClipper(m, NAN), ParameterValueError, "max_norm"),
        (lambda m: NormClipper(m, "1"), ParameterTypeError, "max_norm"),
        (lambda m: NormClipper(m, 1.0, 0.0), ParameterValueError, "norm_type"),
        (lambda m: NormClipper(m, 1.0, per="row"), ParameterValueError, "per"),
        (lambda m: NormClipper(m, 1.0, per="group"), ParameterValueError, "parameters"),
        (lambda m: NormClipper(m, 1.0, nonfinite="ignore"), ParameterValueError, "nonfinite"),
        (lambda m: NormClipper(m, 1.0, accumulate=0), ParameterValueError, "accumulate"),
        (lambda m: NormClipper(m, 1.0, history=0), ParameterValueError, "history"),
        (lambda m: NormClipper(m, 1.0, scaler=3), ParameterTypeError, "scaler"),
        (lambda m: NormClipper([], 1.0), ParameterValueError, "parameters"),
        (lambda m: NormClipper(3, 1.0), ParameterTypeError, "parameters"),
        (lambda m: NormClipper([3], 1.0), ParameterTypeError, "parameters"),
        (lambda m: ValueClipper(m, -1.0), ParameterValueError, "clip_value"),
        (lambda m: AdaptiveClipper(m, -1.0), ParameterValueError, "clip_factor"),
        (lambda m: AdaptiveClipper(m, eps=0.0), ParameterValueError, "eps"),
        (lambda m: AdaptiveClipper(m, exclude="head"), ParameterValueError, "exclude"),
        (lambda m: AdaptiveClipper(m, exclude=3), ParameterTypeError, "exclude"),
        (lambda m: AutoClipper(m, 101.0), ParameterValueError, "percentile"),
        (lambda m: AutoClipper(m, NAN), ParameterValueError, "percentile"),
        (lambda m: AutoClipper(m, warmup=-1), ParameterValueError, "warmup"),
        (lambda m: ZClipper(m, 0.0), ParameterValueError, "z_max"),
        (lambda m: ZClipper(m, smoothing=1.0), ParameterValueError, "smoothing"),
        (lambda m: ZClipper(m, warmup=1), ParameterValueError, "warmup"),
        (lambda m: ZClipper(m, mode="half"), ParameterValueError, "mode"),
        (lambda m: ZClipper(m, max_norm=-1.0), ParameterValueError, "max_norm"),
    ],
)
def test_bad_settings_are_named(call, error, named):
    with pytest.raises(error, match=named):
        call(network())


@every_clipper
def test_it_says_what_it_is(make):
    clipper = make(with_gradients(network(), 1.0))
    clipper.step()
    assert "1 steps" in repr(clipper)
    assert type(clipper).__name__ in repr(clipper)
