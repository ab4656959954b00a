"""The claims on clipping, oscillation and batch normalisation: their measures, and their verdicts on made-up runs."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from evenflow.clip import clip_grad_norm_
from evenflow.errors import NoResultsError
from evenflow.lab import Budget, Results, Trial
from evenflow.lab.claims import _adding, _gradients, _swings
from evenflow.lab.claims import t10_he_and_oscillation as t10
from evenflow.lab.claims import t12_clipping_and_explosions as t12
from evenflow.lab.claims import t13_norm_is_fast as t13
from evenflow.lab.claims import t14_norm_and_rates as t14
from evenflow.lab.claims import t15_norm_and_oscillation as t15
from evenflow.lab.claims import t16_norm_and_time as t16
from evenflow.lab.claims import t18_norm_and_gradients as t18
from evenflow.lab.training import Run, initialise_, mlp
from evenflow.lab.trial import Outcome
from evenflow.norm import BatchNorm1d
from evenflow.report.lab.panels import panel_chart

STEPS = {"step": [1.0, 2.0, 3.0], "loss": [2.0, 1.0, 0.5]}
LOST = {"lost": 1.0, "swing": math.nan, "swing_of_loss": math.nan, "sign_changes": math.nan}


def made_up(claim, told, curves=None):
    """Results of the whole design, in which a trial has the metrics that `told` gives it, and curves."""
    trials = claim.design(Budget("quick"))
    return Results(Outcome(trial, "done", told(trial), curves(trial) if curves else STEPS) for trial in trials)


def swung(size, *, lost=False):
    """The metrics of a run that swings so far, or is lost."""
    common = {"final_loss": 2.0 if lost else 0.1, "steps": math.inf if lost else 30.0}
    return common | (LOST if lost else {"lost": 0.0, "swing": size, "swing_of_loss": size, "sign_changes": 0.5})


def word_of(claim, results):
    """The verdict's word; the figure can be drawn."""
    charts = [panel_chart(panel) for panel in claim.figure(results).panels]
    assert all(chart is not None for chart in charts)
    found = claim.verdict(results)
    assert sorted(check.name for check in found.checks) == sorted(claim.PREDICTION.ranges)
    return found.word


# T10 and T15: swings


def test_a_run_swings_or_is_lost_and_gets_no_number_then():
    calm = Run(tuple(1 / (1 + s / 10) for s in range(60)), (), ())
    wild = Run(tuple(loss * (1.3 if s % 2 else 0.7) for s, loss in enumerate(calm.loss)), (), ())
    told = [_swings.swings(run, 6, 1.0).metrics for run in (calm, wild)]
    assert told[0]["swing"] < 0.05 < told[1]["swing"]
    assert told[0]["swing_of_loss"] < told[1]["swing_of_loss"]
    guessing, gone = Run((2.31,) * 60, (), ()), Run((1.0, 1e9), (), (), diverged=True)
    for run in (guessing, gone):
        found = _swings.swings(run, 6, 1.0).metrics
        assert found["lost"] == 1
        assert math.isnan(found["swing"])


def test_swings_are_compared_where_both_runs_train():
    one, other = _swings.both_train(np.array([1.0, np.nan, 3.0, 4.0]), np.array([2.0, 2.0, 2.0, np.nan]))
    assert (one.tolist(), other.tolist()) == ([1.0, 3.0], [2.0, 2.0])
    with pytest.raises(NoResultsError, match="2 of 3"):
        _swings.both_train(np.array([1.0, np.nan, np.nan]), np.ones(3))


def test_the_largest_rate_that_trains_loses_no_run():
    def results(*losing):
        trials = [Trial({"rate": rate, "seed": seed}) for rate in (0.1, 1.0, 10.0) for seed in (0, 1)]
        return Results(Outcome(t, "done", {"lost": float((t["rate"], t.seed) in losing)}) for t in trials)

    assert _swings.largest_rate_that_trains(results((10.0, 1))) == 1.0
    assert _swings.largest_rate_that_trains(results((0.1, 0))) == 10.0
    with pytest.raises(NoResultsError):
        _swings.largest_rate_that_trains(results((0.1, 0), (1.0, 1), (10.0, 0)))


@pytest.mark.parametrize(
    ("sizes", "lost", "word"),
    [
        ({"he_normal": 0.1, "glorot_normal": 0.2, "double": 0.3}, "random_normal", "supported"),
        ({"he_normal": 0.2, "glorot_normal": 0.1, "double": 0.1, "random_normal": 0.2}, "nobody", "refuted"),
    ],
)
def test_t10_follows_the_swings(sizes, lost, word):
    def told(trial):
        return swung(sizes.get(trial["scheme"]), lost=trial["scheme"] == lost)

    results = made_up(t10, told)
    if word == "refuted":  # no pair differs: a sign test has nothing to count
        checks = {check.name: check.word for check in t10.verdict(results).checks}
        assert checks == {"glorot": "refuted", "double": "refuted", "lost": "inconclusive"}
    else:
        assert word_of(t10, results) == word


def test_t10_takes_the_largest_rate_at_which_both_train():
    def told(trial):
        if trial["scheme"] == "random_normal" or (trial["scheme"], trial["rate"]) == ("double", 0.08):
            return swung(None, lost=True)
        return swung({"he_normal": 0.1, "glorot_normal": 0.5, "double": 0.2}[trial["scheme"]] / trial["rate"])

    found = t10.verdict(made_up(t10, told))
    assert "rate 0.02" in found.checks[1].effect
    assert found.word == "supported"


def test_t10_gives_no_verdict_where_twice_he_never_trains():
    results = made_up(t10, lambda trial: swung(0.1, lost=trial["scheme"] in ("double", "random_normal")))
    with pytest.raises(NoResultsError):
        t10.verdict(results)


@pytest.mark.parametrize(("normalised", "worse", "word"), [(0.1, "none", "supported"), (0.4, "batch", "refuted")])
def test_t15_follows_the_swings(normalised, worse, word):
    def told(trial):
        lost = trial["rate"] == t15.RATES[-1] and trial["norm"] == worse
        return swung({"none": 0.2, "batch": normalised}[trial["norm"]], lost=lost)

    assert word_of(t15, made_up(t15, told)) == word


def test_t15_compares_at_the_rate_that_suits_the_network_without_on_seeds_that_did_not_choose_it():
    def told(trial):
        steps = {0.02: 50.0, 0.1: 20.0, 0.5: 70.0, 2.5: math.inf}[trial["rate"]]
        if trial["norm"] == "none":
            return swung(1.0) | {"steps": steps}
        return swung(0.5 if trial["rate"] == 0.1 and trial.seed >= 4 else 3.0) | {"steps": 5.0}

    found = t15.verdict(made_up(t15, told))
    assert found.summary.startswith("At the rate 0.1 ")
    assert found.checks[0].estimate == pytest.approx(0.5)
    assert found.checks[0].n == 12


@pytest.mark.parametrize("claim", [t10, t15])
def test_trials_of_swings_train(claim, monkeypatch):
    monkeypatch.setattr(claim, "STEPS", 40)
    first = claim.design(Budget("quick"))[:1]
    (found,) = claim.measure_together(first)
    assert found.metrics["lost"] == 0
    assert 0 < found.metrics["swing"] < 10
    assert len(found.curves["loss"]) == 40


# T12: clipping


def test_clipping_prevents_nothing_where_nothing_explodes():
    measured = made_up(t12, lambda trial: {"exploded": 0.0, "largest_norm": 1.0, "final_loss": 0.1})
    with pytest.raises(NoResultsError, match="no run explodes"):
        t12.verdict(measured)


def trained_by_torch(seed, rate, clip, steps):
    """The losses of one network, as torch's own layers and optimiser make it learn."""
    rnn, out = nn.RNN(2, _adding.UNITS, nonlinearity="relu", batch_first=True), nn.Linear(_adding.UNITS, 1)
    learned = [rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, out.weight, out.bias]
    with torch.no_grad():
        rnn.bias_hh_l0.zero_()
        for parameter, value in zip(learned, _adding._start(seed), strict=True):
            parameter.copy_(value.view_as(parameter))
    optimiser, losses = torch.optim.SGD(learned, rate), []
    for _, (inputs, targets) in zip(range(steps), _adding.batches(12, seed), strict=False):
        loss = (out(rnn(inputs)[1].squeeze(0)) - targets).square().mean()
        optimiser.zero_grad()
        loss.backward()
        if clip is not None:
            clip(learned)
        optimiser.step()
        losses.append(loss.item())
    return losses


def test_adders_learn_as_a_recurrent_network_of_torch_does():
    seeds, rates = (5, 6, 6), (0.1, 0.2, 0.2)
    clips = (None, None, lambda parameters: clip_grad_norm_(parameters, 0.01))
    adders, sources = _adding.Adders(seeds, rates, clips), [_adding.batches(12, seed) for seed in seeds]
    together = []
    for _ in range(4):
        inputs, targets = (torch.stack(parts) for parts in zip(*map(next, sources), strict=True))
        together.append(adders.step(inputs, targets)[0])
    alone = [trained_by_torch(*one, steps=4) for one in zip(seeds, rates, clips, strict=True)]
    assert torch.stack(together).T.tolist() == [pytest.approx(losses, rel=1e-5) for losses in alone]
    assert alone[1][3] != alone[2][3]


def test_sequences_have_two_marks_one_in_each_half_and_their_sum_as_target():
    inputs, targets = next(_adding.batches(20, 0))
    marks = inputs[:, :, 1]
    assert marks[:, :10].sum(1).tolist() == marks[:, 10:].sum(1).tolist() == [1.0] * _adding.BATCH
    assert torch.allclose((inputs[:, :, 0] * marks).sum(1, keepdim=True), targets)


def test_the_loss_at_the_start_is_that_of_an_output_of_zero():
    drawn = torch.rand(200_000, 2, generator=torch.Generator().manual_seed(0)).sum(1)
    assert float(drawn.square().mean()) == pytest.approx(_adding.AT_START, rel=0.01)


def test_a_gradient_clipped_in_all_its_entries_has_the_norm_of_the_other_way():
    assert t12.MAX_VALUE * math.sqrt(_adding.PARAMETERS) == pytest.approx(t12.MAX_NORM)


@pytest.mark.parametrize(
    ("losses", "exploded"), [([1.0] * 10, 0), ([1.0] * 9 + [5.0], 1), ([5.0] * 9 + [1.0], 0), ([math.nan] * 10, 1)]
)
def test_a_run_explodes_that_ends_above_its_start(losses, exploded):
    found = t12.told(losses, [1.0, math.nan])
    assert found.metrics["exploded"] == exploded
    assert found.metrics["largest_norm"] == math.inf


def test_trials_of_clipping_are_paired_and_clipped():
    common = {"rate": 100.0, "length": 6, "steps": 3}
    trials = [Trial({"clipping": how, "seed": 3, **common}) for how in t12.CLIPPINGS]
    none, norm, value = t12.measure_together(trials)
    assert none.curves["loss"][0] == norm.curves["loss"][0] == value.curves["loss"][0]
    assert len({one.curves["loss"][2] for one in (none, norm, value)}) == 3


@pytest.mark.parametrize(
    ("exploding", "word"),
    [({"none"}, "supported"), ({"none", "norm", "value"}, "refuted"), ({"none", "value"}, "depends")],
)
def test_t12_follows_the_explosions(exploding, word):
    def told(trial):
        exploded = trial["clipping"] in exploding and trial["rate"] >= 0.1
        return {"exploded": float(exploded), "final_loss": 1.0, "largest_norm": 2.0}

    curves = {**STEPS, "norm": [1.0, 2.0, 3.0]}
    assert word_of(t12, made_up(t12, told, lambda trial: curves)) == word


def test_t12_counts_the_runs_that_clipping_itself_loses():
    def told(trial):
        where = {"none": 0.1, "norm": 1.0, "value": 0.01}[trial["clipping"]]  # other runs than without clipping
        return {"exploded": float(trial["rate"] == where), "final_loss": 1.0, "largest_norm": 2.0}

    found = t12.verdict(made_up(t12, told))
    assert [check.word for check in found.checks] == ["supported", "refuted"]
    assert "12 with values clipped (12 of them only then)" in found.summary


# T13: steps


def runs_of_t13(arrivals):
    """Accuracies that rise to 0.9 at the step of each (norm, rate)."""
    measured = [float(s) for s in range(t13.EVERY, t13.LIMIT + 1, t13.EVERY)]

    def curves(trial):
        shares = [0.9 if s >= arrivals[trial["norm"], trial["rate"]] else 0.5 for s in measured]
        return {**STEPS, "measured": measured, "accuracy": shares}

    def told(trial):
        return {"best_accuracy": max(curves(trial)["accuracy"]), "final_loss": 0.1, "steps": 20.0}

    return made_up(t13, told, curves)


PLAIN = {("none", 0.04): 240, ("none", 0.2): 200, ("none", 1.0): math.inf}


@pytest.mark.parametrize(
    ("normalised", "word"),
    [((200, 60, 40), "supported"), ((240, 200, 200), "refuted"), ((200, 40, 220), "depends")],
)
def test_t13_follows_the_steps(normalised, word):
    batch = {("batch", rate): steps for rate, steps in zip(t13.RATES, normalised, strict=True)}
    results = runs_of_t13(PLAIN | {("none", 0.04): math.inf} | batch)
    assert t13.best_rates(results)[0] == 0.2
    assert word_of(t13, results) == word


def test_t13_gives_no_verdict_where_five_times_the_rate_was_not_tried():
    arrivals = {(norm, rate): 100 if rate == 1.0 else math.inf for norm in t13.NORMS for rate in t13.RATES}
    with pytest.raises(NoResultsError, match="None"):
        t13.verdict(runs_of_t13(arrivals))


def test_steps_are_those_at_which_a_goal_was_first_seen():
    curves = {"measured": [10.0, 20.0, 30.0], "accuracy": [0.2, 0.8, 0.7]}
    results = Results([Outcome(Trial({"seed": 0}), "done", {}, curves)])
    assert [float(t13.steps_to(results, np.array([goal]))[0]) for goal in (0.1, 0.75, 0.9)] == [10, 20, math.inf]


# T14: learning rates


def runs_of_t14(largest):
    """Runs that train up to a rate, except at 1/8."""

    def told(trial):
        trains = trial["rate"] <= largest[trial["norm"]] and trial["rate"] != 0.125
        return {"final_loss": 0.3 if trains else math.inf, "steps": 9.0}

    return made_up(t14, told)


@pytest.mark.parametrize(("normalised", "word"), [(4.0, "supported"), (0.5, "refuted")])
def test_t14_follows_the_rates(normalised, word):
    results = runs_of_t14({"none": 0.5, "batch": normalised})
    assert word_of(t14, results) == word
    assert set(t14.largest_rates(results.where(norm="batch", activation="relu"))) == {normalised}


def test_t14_says_where_the_rates_end():
    assert "8 of 8 still train at the largest rate" in t14.verdict(runs_of_t14({"none": 0.5, "batch": 64.0})).summary


def test_t14_gives_no_verdict_on_a_network_that_never_trains():
    with pytest.raises(NoResultsError, match="none of the learning rates"):
        t14.verdict(runs_of_t14({"none": 0.01, "batch": 4.0}))


# T16: time


def runs_of_t16(step, steps):
    """Steps that take so long, and as many as given; the first rate is the best."""

    def told(trial):
        found = {}
        for norm in t16.NORMS:
            for place, rate in enumerate(t16.PROBLEMS[trial["problem"]].rates):
                count = steps[norm] * (place + 1)
                found |= {
                    f"{norm}_{rate:g}_steps": float(count) if count <= t16.LIMIT else math.inf,
                    f"{norm}_{rate:g}_step": step[norm],
                    f"{norm}_{rate:g}_seconds": step[norm] * min(count, t16.LIMIT),
                }
        return found

    return made_up(t16, told)


@pytest.mark.parametrize(
    ("step", "word"),
    [
        ({"none": 1.0, "batch": 1.5, "torch": 1.2}, "supported"),
        ({"none": 1.0, "batch": 2.5, "torch": 2.5}, "refuted"),
        ({"none": 1.0, "batch": 2.5, "torch": 1.2}, "depends"),
    ],
)
def test_t16_follows_the_seconds(step, word):
    results = runs_of_t16(step, {"none": 100, "batch": 50, "torch": 50})
    assert word_of(t16, results) == word
    assert "(0.50 of the steps" in t16.verdict(results).summary


def test_t16_gives_no_verdict_on_runs_that_do_not_arrive():
    step = dict.fromkeys(t16.NORMS, 1.0)
    with pytest.raises(NoResultsError, match="6 do not with normalisation"):
        t16.verdict(runs_of_t16(step, {"none": 100, "batch": 250, "torch": 50}))
    with pytest.raises(NoResultsError, match="6 without"):
        t16.verdict(runs_of_t16(step, {"none": 250, "batch": 50, "torch": 50}))


def test_a_learner_ends_where_it_arrives_or_diverges():
    targets = torch.arange(4)
    quick, gone = (t16.Learner(nn.Linear(4, 4), rate, 0.0) for rate in (50.0, 1e30))
    # Four inputs that can be told apart, and four that cannot.
    for learner, inputs in ((quick, torch.eye(4)), (gone, torch.ones(4, 4))):
        while not learner.ended:
            learner.step(inputs, targets)
    assert quick.arrived
    assert quick.smoothed <= t16.TARGET
    assert not gone.arrived
    assert quick.seconds > 0


def test_all_networks_of_a_seed_take_their_turns(monkeypatch):
    monkeypatch.setattr(t16, "LIMIT", 4)
    monkeypatch.setattr(t16, "WARM_UP", 1)
    metrics = t16.measure(Trial({"problem": "relu", "data": "digits", "seed": 0})).metrics
    steps = [value for name, value in metrics.items() if name.endswith("_steps")]
    assert steps == [math.inf] * 9  # none arrives in four steps
    assert all(metrics[f"{norm}_0.02_seconds"] > 0 for norm in t16.NORMS)


def test_the_layers_of_evenflow_and_torch_need_the_same_steps():
    found = {}
    for norm in ("batch", "torch"):
        trial = Trial({"problem": "relu", "data": "digits", "seed": 1})
        learner = t16._learners(trial)[f"{norm}_0.1"]
        data = t16.load_split("digits")
        for rows in t16.batch_order(len(data.inputs), 64, 10, 1):
            learner.step(data.inputs[rows], data.targets[rows])
        found[norm] = learner.smoothed
    assert found["batch"] == pytest.approx(found["torch"], rel=1e-4)


def test_only_the_claim_that_reads_a_clock_is_exclusive():
    assert t16.EXCLUSIVE
    assert not any(hasattr(claim, "EXCLUSIVE") for claim in (t10, t12, t13, t14, t15, t18))


# T18: gradients


@pytest.mark.parametrize(
    ("slopes", "factors", "word"),
    [
        ({"relu": 0.01, "tanh": 0.01}, {"relu": 1.211, "tanh": 1.085}, "supported"),
        ({"relu": 0.083, "tanh": 0.036}, {"relu": 1.211, "tanh": 1.085}, "depends"),
        ({"relu": 0.2, "tanh": -0.2}, {"relu": 1.0, "tanh": 1.0}, "refuted"),
    ],
)
def test_t18_follows_the_slopes(slopes, factors, word):
    def told(trial):
        scaled = 0.3 * math.log2(trial["scale"])
        free = trial["norm"] == "batch" and word != "refuted"
        return {"slope": slopes[trial["activation"]] + (0 if free else scaled), "factor": factors[trial["activation"]]}

    curves = {"layer": [1.0, 2.0], "norm": [1.0, 2.0]}
    assert word_of(t18, made_up(t18, told, lambda trial: curves)) == word


def test_t18_measures_that_the_scale_does_not_matter_with_normalisation():
    def slope(norm, scale):
        small = {"depth": 6, "width": 30, "samples": 64}
        trial = Trial({"activation": "relu", "norm": norm, "scale": scale, "data": "digits", "seed": 0, **small})
        return t18.measure(trial).metrics["slope"]

    assert slope("batch", 4.0) == pytest.approx(slope("batch", 1.0), abs=0.01)
    assert slope("none", 4.0) - slope("none", 1.0) == pytest.approx(math.log10(4), abs=0.01)


def test_gradients_are_those_of_what_a_layer_gives_before_it_is_normalised():
    inputs, targets = torch.randn(32, 8, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 3

    def norms(scale):
        model = initialise_(mlp([8, 8, 8, 3], "tanh", BatchNorm1d), "glorot_normal", 0)
        with torch.no_grad():
            model.linear1.weight *= scale
            model.linear2.weight *= scale
        return _gradients.gradient_norms(model, inputs, targets)

    assert norms(10.0) == pytest.approx([norm / 10 for norm in norms(1.0)], rel=1e-3)
