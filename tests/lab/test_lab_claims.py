"""What the claims measure, on cases whose answer is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from evenflow.lab import Budget, Results, Trial
from evenflow.lab.catalogue import by_id
from evenflow.lab.claims import _gradients, _tuned
from evenflow.lab.claims import t01_zeros_are_symmetric as t01
from evenflow.lab.claims import t05_large_weights_saturate as t05
from evenflow.lab.claims import t24_algorithm_one as t24
from evenflow.lab.execute import Job, execute
from evenflow.lab.runner import judged
from evenflow.lab.trial import Outcome, grid

CHEAP = ("T1", "T4", "T5", "T6", "T24")


@pytest.mark.parametrize("identifier", CHEAP)
def test_a_cheap_claim_comes_out_as_it_should_and_can_be_drawn(identifier):
    source = by_id()[identifier]
    claim = source.load()
    jobs = [Job(source, group, claim.code) for group in claim.jobs(claim.design(Budget("quick")))]
    outcomes = [outcome for job in jobs for outcome in execute(job)]
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    verdict, figure = judged(claim, outcomes)
    assert verdict.word == ("depends" if identifier == "T6" else "supported"), verdict
    assert all(panel.series and panel.series[0].x for panel in figure.panels)


def test_distinct_rows_are_those_that_differ_by_more_than_rounding():
    weight = torch.tensor([[1.0, 2.0], [1.0, 2.0 + 1e-7], [2.0, 1.0]])
    assert t01.distinct_rows(weight) == 2
    assert t01.distinct_rows(torch.zeros(5, 3)) == 1
    assert t01.distinct_rows(torch.randn(5, 3)) == 5


def test_gradient_norms_of_a_linear_chain_are_products():
    model = nn.Sequential(
        nn.Linear(2, 2, bias=False), nn.Identity(), nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    )
    with torch.no_grad():
        for layer, scale in zip((model[0], model[2], model[3]), (1.0, 3.0, 5.0), strict=True):
            layer.weight.copy_(scale * torch.eye(2))
    first, second = _gradients.gradient_norms(model, torch.randn(4, 2), torch.tensor([0, 1, 0, 1]))
    assert first == pytest.approx(3 * second)


def test_sigmoid_is_judged_on_the_scale_of_tanh():
    outputs = torch.tensor([0.0, 0.5, 1.0])
    assert t05.centred(outputs, "sigmoid").tolist() == [-1.0, 0.0, 1.0]
    assert t05.centred(outputs, "tanh") is outputs


def test_t24_notices_a_layer_that_does_not_normalise(monkeypatch):
    class Wrong(nn.BatchNorm1d):
        def forward(self, x):
            return super().forward(x) * 1.01

    monkeypatch.setattr(t24, "BatchNorm1d", Wrong)
    assert t24.measure(Trial({"scale": 2.0, "seed": 0})).metrics["variance_error"] > 1e-2


def test_a_rate_is_tuned_on_seeds_that_do_not_count():
    steps = {0.1: [10, math.inf, math.inf, math.inf], 1.0: [20, 5, 5, 5]}
    trials = grid([0, 1, 2, 3], scheme="a", rate=(0.1, 1.0))
    outcomes = [Outcome(t, "done", {"steps": steps[t["rate"]][t.seed], "final_loss": 1.0}) for t in trials]
    found = _tuned.tuned(Results(outcomes), 100, "scheme")
    assert {row.trial["rate"] for row in found} == {0.1}
    assert [row.trial.seed for row in found] == [1, 2, 3]


def test_rates_at_which_all_diverge_are_tuned_without_a_warning():
    trials = grid(range(8), scheme="a", rate=(0.1, 1.0))
    outcomes = [Outcome(t, "done", {"steps": math.inf, "final_loss": math.inf}) for t in trials]
    assert len(_tuned.tuned(Results(outcomes), 100, "scheme")) == 6


def test_training_groups_give_a_measurement_for_each_trial():
    trials = grid([0, 1], rate=(0.1, 0.2), data="digits")

    def build(trial, features, classes):
        assert (features, classes) == (64, 10)
        return nn.Sequential(nn.Linear(features, classes))

    from evenflow.lab.training import Recipe

    found = _tuned.train_group(trials, build, Recipe(rate=1.0, steps=10), target=100.0)
    assert [one.metrics["steps"] for one in found] == [1.0] * 4
    assert np.isfinite([one.metrics["final_loss"] for one in found]).all()
