"""The claims on batch normalisation: what they measure, on cases whose answer is known, and how they judge."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from evenflow.lab import Results, Trial
from evenflow.lab.claims import _saturation
from evenflow.lab.claims import t17_norm_and_dropout as t17
from evenflow.lab.claims import t19_norm_saves_saturated as t19
from evenflow.lab.claims import t20_norm_and_hyperparameters as t20
from evenflow.lab.claims import t21_norm_and_covariate_shift as t21
from evenflow.lab.claims import t22_norm_smooths_the_surface as t22
from evenflow.lab.claims import t23_norm_prevents_saturation as t23
from evenflow.lab.measures import Slice
from evenflow.lab.training import Recipe, load_split, mlp
from evenflow.lab.trial import Outcome, grid

SEEDS = range(12)
CURVE = [1.0, 2.0]


def told(trials, metrics, curves=None):
    """Results of trials, each with metrics by its configuration and a little noise by its seed."""
    noise = {seed: 1 + 0.01 * math.sin(3 * seed) for seed in SEEDS}
    return Results(
        Outcome(
            trial,
            "done",
            {k: v * noise[trial.seed] for k, v in metrics(trial).items()},
            curves(trial) if curves else {},
        )
        for trial in trials
    )


def saturations(module, share):
    """Results of T19 or T23 in which the share with and without normalisation is `share(trial)`."""
    if module is t19:
        trials = [
            trial
            for activation, rate in t19.RATES.items()
            for trial in grid(
                SEEDS, activation=activation, rate=rate, start=tuple(t19.STARTS.values()), norm=tuple(t19.NORMS)
            )
        ]
    else:
        trials = [
            trial
            for activation, rates in t23.RATES.items()
            for trial in grid(SEEDS, activation=activation, rate=rates, norm=tuple(t23.NORMS))
        ]
    return told(trials, lambda trial: {"mean": share(trial)}, lambda _: {"step": CURVE, "share": CURVE})


def saves(trial):
    return 0.02 if trial["norm"] == "batch" else 0.9 if trial.get("start") != "glorot_normal" else 0.01


def harms(trial):
    return 0.9 if trial["norm"] == "batch" else 0.8 if trial.get("start") != "glorot_normal" else 0.01


@pytest.mark.parametrize("module", [t19, t23])
def test_saturation_is_judged_by_the_shares(module):
    assert module.verdict(saturations(module, saves)).word == "supported"
    assert module.verdict(saturations(module, harms)).word == "refuted"
    assert all(panel.series[0].x for panel in module.figure(saturations(module, saves)).panels)


def test_a_norm_that_saturates_what_starts_well_is_told():
    def mixed(trial):
        return 0.09 if trial["norm"] == "batch" and trial["start"] == "glorot_normal" else saves(trial)

    found = t19.verdict(saturations(t19, mixed))
    assert found.word == "depends"
    assert {check.name for check in found.checks if check.word == "refuted"} == {"tanh_good", "sigmoid_good"}


@pytest.mark.parametrize(("activation", "ends"), [("tanh", (-1.0, 1.0)), ("sigmoid", (0.0, 1.0))])
def test_saturated_are_the_outputs_at_either_end_and_nan(activation, ends):
    model = nn.Sequential(nn.Identity(), {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}[activation]())
    low, high = ends
    middle = (low + high) / 2
    inputs = torch.tensor([[-50.0, 50.0], [0.0, math.nan]])
    assert model(inputs)[0].tolist() == pytest.approx([low, high])
    assert model(inputs)[1, 0] == middle
    assert _saturation.saturated_share(model, inputs, activation) == 0.75


def test_watching_gives_a_share_for_each_look_and_starts_with_the_weights():
    trials = grid([0, 1], rate=(0.1, 0.2), activation="tanh", data="digits")

    def build(trial, features, classes):
        model = mlp([features, 8, classes], "tanh")
        nn.init.constant_(model.linear1.weight, 100.0 if trial.seed else 0.0)
        return model

    found = _saturation.watched_group(trials, build, Recipe(rate=1.0, steps=4), (0, 2, 4))
    shares = {(trial.seed, trial["rate"]): one for trial, one in zip(trials, found, strict=True)}
    assert shares[0, 0.1].metrics["first"] == 0.0
    assert shares[1, 0.2].metrics["first"] > 0.9
    assert shares[1, 0.2].curves["step"] == [0.0, 2.0, 4.0]
    assert shares[1, 0.2].metrics["mean"] == pytest.approx(np.mean(shares[1, 0.2].curves["share"]))


def accuracies(**means):
    def curves(_):
        return {"step": CURVE, "loss": CURVE, "measured": CURVE, "accuracy": CURVE}

    trials = grid(SEEDS, kind=tuple(t17.KINDS), rate=t17.RATES)
    return told(trials, lambda t: {"accuracy": means[t["kind"]] - 0.2 * (t["rate"] == t17.RATES[1])}, curves)


def test_dropout_is_replaced_where_norm_does_as_well_and_gains_nothing_on_top():
    good = accuracies(none=0.90, dropout=0.92, batch=0.92, both=0.92)
    assert t17.verdict(good).word == "supported"
    assert t17.figure(good).panels[0].series[0].x == ("neither", "dropout", "batch norm", "both")
    assert t17.verdict(accuracies(none=0.90, dropout=0.95, batch=0.90, both=0.95)).word == "refuted"
    assert t17.verdict(accuracies(none=0.90, dropout=0.92, batch=0.92, both=0.96)).word == "depends"


def test_kinds_of_networks_are_judged_at_their_best_rate_on_other_seeds():
    found = t17.at_best_rate(accuracies(none=0.9, dropout=0.9, batch=0.9, both=0.9))
    assert {row.trial["rate"] for row in found} == {t17.RATES[0]}
    assert {row.trial.seed for row in found} == set(range(3, 12))


def test_samples_are_trained_on_or_tested_on_never_both():
    whole = load_split("digits")
    data = t17.with_more_tests(whole)
    assert len(data.inputs) + len(data.test_inputs) == len(whole.inputs) + len(whole.test_inputs)
    rows = t17.few_rows(len(data.inputs), 3)
    assert len(rows.unique()) == t17.SAMPLES
    assert not torch.equal(rows, t17.few_rows(len(data.inputs), 4))


def planes(last_of_batch):
    def metrics(trial):
        last = last_of_batch if trial["norm"] == "batch" else 2
        return {"final_loss": 0.1 if t20.RATES.index(trial["rate"]) < last else math.inf}

    trials = grid(SEEDS, activation=t20.ACTIVATIONS, norm=tuple(t20.NORMS), rate=t20.RATES, scale=t20.SCALES)
    return told(trials, metrics)


def test_the_area_that_trains_is_compared():
    wide = planes(6)
    assert t20.areas(wide.where(norm="batch")).tolist() == [0.75] * len(SEEDS)
    assert t20.verdict(wide).word == "supported"
    assert t20.verdict(planes(2)).word == "refuted"
    panels = t20.figure(wide).panels
    assert [panel.cells.values[0][3] for panel in panels] == [0.0, 1.0, 0.0, 1.0]


def shifts(drift, gradient):
    def metrics(trial):
        norm = trial["norm"] == "batch"
        size = {"drift": drift if norm else 1.0, "gradient": gradient if norm else 1.0, "cosine": 0.5}
        return size | {"steps": 10 * (1 + abs(math.log(trial["rate"]))), "final_loss": 1.0}

    def curves(_):
        return {"looked": CURVE, "drift": CURVE, "gradient": CURVE, "cosine": CURVE}

    return told(grid(SEEDS, norm=tuple(t21.NORMS), rate=t21.RATES), metrics, curves)


def test_both_definitions_of_covariate_shift_are_judged():
    assert t21.verdict(shifts(0.5, 0.5)).word == "supported"
    assert t21.verdict(shifts(2.0, 2.0)).word == "refuted"
    assert t21.verdict(shifts(0.5, 2.0)).word == "depends"
    assert len(t21.figure(shifts(0.5, 2.0)).panels) == 6


def test_both_kinds_are_compared_at_matched_and_at_tuned_rates():
    slower = Results(
        Outcome(row.trial, "done", {**row.metrics, "steps": 50.0 - (row.trial["rate"] == 3.0)}, row.curves)
        if row.trial["norm"] == "batch"
        else row
        for row in shifts(0.5, 0.5)
    )
    rates = {
        name: {norm: {row.trial["rate"] for row in group} for norm, group in chosen.by("norm").items()}
        for name, chosen in t21.at_rates(slower).items()
    }
    assert rates == {"matched": {"none": {1.0}, "batch": {1.0}}, "tuned": {"none": {1.0}, "batch": {3.0}}}


def test_the_step_that_is_measured_is_that_of_training():
    model, data, rows = mlp([64, 10], "tanh"), load_split("digits"), torch.arange(5)
    twin = mlp([64, 10], "tanh")
    twin.load_state_dict(model.state_dict())
    t21.make_step_(model, data, rows, 0.5)
    nn.functional.cross_entropy(twin(data.inputs[rows]), data.targets[rows]).backward()
    torch.optim.SGD(twin.parameters(), 0.5).step()
    for one, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_covariate_shift_is_measured_for_every_trial(monkeypatch):
    monkeypatch.setattr(t21, "LOOKS", (1, 3))
    monkeypatch.setattr(t21, "LIMIT", 3)
    monkeypatch.setattr(t21, "WIDTH", 16)
    trials = grid([0], norm="batch", rate=(0.3, 1.0), data="digits")
    found = t21.measure_together(trials)
    assert all(one.curves["looked"] == [1.0, 3.0] and one.metrics["drift"] > 0 for one in found)
    slow, fast = (one.metrics["drift"] for one in found)
    assert slow < fast


def surfaces(ratio):
    def metrics(trial):
        return dict.fromkeys((*t22.QUANTITIES, "loss"), ratio if trial["norm"] == "batch" else 1.0)

    def curves(_):
        each = dict.fromkeys(("step", "loss_range", "gradient_range", "smoothness"), CURVE)
        return {**each, "place": [-1.0, 1.0], "plane": [1.0, 10.0, 100.0, 1000.0]}

    return told(grid(SEEDS, norm=tuple(t22.NORMS)), metrics, curves)


def test_smoothness_is_judged_by_ratios():
    assert t22.verdict(surfaces(0.5)).word == "supported"
    assert t22.verdict(surfaces(2.0)).word == "refuted"
    assert t22.figure(surfaces(0.5)).panels[-1].cells.values == ((0.0, 1.0), (2.0, 3.0))


def test_a_plane_bends_where_it_is_curved_only():
    place = (-1.0, 0.0, 1.0)
    tilted = Slice(place, place, tuple(tuple(2 * x + y for x in place) for y in place))
    bowl = Slice(place, place, tuple(tuple(x * x + y * y for x in place) for y in place))
    assert t22.bend(tilted) == 0
    assert t22.bend(bowl) == 2


def test_the_surface_is_measured_for_every_trial(monkeypatch):
    for name, value in {"LOOKS": (0, 2), "STEPS": 2, "POINTS": 3}.items():
        monkeypatch.setattr(t22, name, value)
    found = t22.measure_together([Trial({"norm": "batch", "seed": s, "data": "digits"}) for s in (0, 1)])
    assert [len(one.curves["plane"]) for one in found] == [9, 9]
    assert all(one.metrics["smoothness"] > 0 and one.metrics["bend"] > 0 for one in found)
    assert found[0].curves["plane"][4] == pytest.approx(found[0].metrics["loss"])
