"""The demo itself, on its whole budget: treated networks learn the digits, untreated ones do not."""

import math

import pytest
import torch

from evenflow.data import digits
from evenflow.demo import CASES, prove
from evenflow.demo.training import steps_of

CAUSES = [("gain-mismatch", "linear1"), ("symmetric", "linear1"), ("gain-mismatch", "linear1")]


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.fixture(scope="module")
def proofs(data):
    return [prove(case, data) for case in CASES]


@pytest.fixture(params=range(len(CASES)), ids=lambda number: CASES[number].title)
def number(request):
    return request.param


def test_the_cause_is_named_first_and_the_cure_is_kept(proofs, number):
    proof = proofs[number]
    first = proof.before.findings[0]
    assert not proof.before.ok
    assert (first.rule, first.layer) == CAUSES[number]
    assert proof.treatment.kept
    assert proof.treatment.after.ok


def test_treated_above_90_percent_where_untreated_stays_below_30(proofs, number):
    proof = proofs[number]
    assert max(proof.untreated.accuracy) < 0.3
    assert proof.treated.accuracy[-1] > 0.9


def test_both_curves_have_the_same_steps(proofs, number, data):
    proof = proofs[number]
    assert proof.untreated.steps == proof.treated.steps
    assert proof.treated.steps[-1] == steps_of(data)
    assert all(map(math.isfinite, (*proof.untreated.loss, *proof.treated.loss)))


def test_treated_and_untreated_see_the_same_batches_in_the_same_order(data):
    seen = []

    def watching():
        model = CASES[0].build()
        model.register_forward_pre_hook(lambda module, args: seen.append((module, args[0].clone())))
        return model

    case = type(CASES[0])(CASES[0].title, CASES[0].subtitle, watching)
    told = []
    prove(case, data, lambda *diagnoses: (seen.clear(), told.append(diagnoses)), epochs=1)
    models = list(dict.fromkeys(module for module, _ in seen))
    untreated, treated = ([batch for module, batch in seen if module is model] for model in models)
    assert len(told) == 1
    assert len(models) == 2
    assert len(untreated) == len(treated) > steps_of(data, 1)
    assert all(torch.equal(a, b) for a, b in zip(untreated, treated, strict=True))


def test_no_two_cases_end_the_same(proofs):
    assert len({proof.treated.accuracy for proof in proofs}) == len(CASES)


def test_a_case_is_always_built_the_same(number):
    one, two = CASES[number].build(), CASES[number].build()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    ("case", "depth", "std"), [(CASES[0], 20, 1.0), (CASES[1], 20, 0.0), (CASES[2], 30, 1 / math.sqrt(128))]
)
def test_the_networks_are_as_deep_and_as_wrong_as_their_titles_say(case, depth, std):
    weights = [parameter for parameter in case.build().parameters() if parameter.dim() == 2]
    assert f"{depth} " in case.title
    assert len(weights) == depth
    # The sample deviation of 64 x 64 normals is within 1 / sqrt(2 * 4096) = 1.1 % of the true one; 5 sigma.
    assert weights[1].std().item() == pytest.approx(std, rel=0.055)
