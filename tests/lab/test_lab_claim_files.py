import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenflow.errors import ClaimError, NoResultsError, ParameterValueError
from evenflow.lab import Budget, Cells, Figure, Measurement, Panel, Prediction, Range, Results, Series, Trial, grid
from evenflow.lab.catalogue import by_id, find
from evenflow.lab.claim import measuring_code
from evenflow.lab.trial import Outcome
from evenflow.lab.verdict import Check, Verdict


@pytest.mark.parametrize("name", ["ID", "TITLE", "STATEMENT", "SOURCE", "PREDICTION"])
def test_a_claim_without_a_part_is_refused_by_name(claim_file, name):
    path = claim_file(more=f"\n{name} = None\n")
    with pytest.raises(ClaimError, match=f"must define {name}"):
        find([path])[0].load()


@pytest.mark.parametrize("name", ["design", "verdict", "figure"])
def test_a_claim_without_a_function_is_refused_by_name(claim_file, name):
    with pytest.raises(ClaimError, match=f"a function {name}"):
        find([claim_file(more=f"\n{name} = 3\n")])[0].load()


@pytest.mark.parametrize("more", ["del measure", "def measure_together(trials): ..."])
def test_a_claim_measures_in_exactly_one_way(claim_file, more):
    with pytest.raises(ClaimError, match="one of measure"):
        find([claim_file(more=f"\n{more}\n")])[0].load()


def test_trials_that_run_together_need_to_know_in_what_they_differ(claim_file):
    with pytest.raises(ClaimError, match="TOGETHER"):
        find([claim_file(more="\ndel measure\ndef measure_together(trials): ...\n")])[0].load()


def test_a_claim_that_cannot_be_imported_says_why(claim_file):
    with pytest.raises(ClaimError, match="ZeroDivisionError"):
        find([claim_file(more="\n1 / 0\n")])[0].load()


@pytest.mark.parametrize(
    ("name", "hint"), [("T99", "did you mean T"), ("nowhere.py", "no file"), ("zzz", "evenflow lab list")]
)
def test_a_claim_that_is_not_there_is_refused(name, hint):
    with pytest.raises(ClaimError, match=hint):
        find([name])


def test_the_claims_of_the_lab_have_their_own_ids_and_full_texts():
    claims = [source.load() for source in by_id().values()]
    assert len({claim.id for claim in claims}) == len(claims)
    for claim in claims:
        assert claim.title
        assert claim.source
        assert claim.statement.endswith(".")
        assert claim.prediction.text.endswith(".")


@pytest.mark.parametrize("budget", ["quick", "normal", "full"])
def test_the_designs_of_the_lab_grow_with_the_budget(budget):
    for source in by_id().values():
        claim = source.load()
        trials, quick = claim.design(Budget(budget)), claim.design(Budget("quick"))
        assert len(set(trials)) == len(trials) >= len(quick)
        assert sorted(t.text for job in claim.jobs(trials) for t in job) == sorted(t.text for t in trials)


def test_designs_of_other_base_seeds_share_no_seed():
    for source in by_id().values():
        claim = source.load()
        seeds = [{trial.seed for trial in claim.design(Budget("normal", base))} for base in (0, 1)]
        assert not seeds[0] & seeds[1]


def test_the_data_of_the_budget_reaches_every_claim_that_trains():
    for source in by_id().values():
        trials = source.load().design(Budget("quick", data="mnist"))
        assert {trial["data"] for trial in trials if "data" in trial} <= {"mnist"}


@pytest.mark.parametrize(
    "change", [("import torch", "import torch as t"), ("drawn[:5]", "drawn[:6]"), ("randn", "rand"), ("6, 12", "7, 12")]
)
def test_what_numbers_follow_from_changes_the_code(claim_file, change):
    before, after = (find([claim_file(*c)])[0].text for c in ((), (change,)))
    assert measuring_code(before) != measuring_code(after)


@pytest.mark.parametrize(
    "change",
    [("Even seeds", "Odd"), ("a test", "b"), ("(-1, 1)", "(-2, 2)"), ('"Seen."', '"Saw."'), ('"Means."', '"M."')],
)
def test_what_is_only_told_does_not_change_the_code(claim_file, change):
    before, after = (find([claim_file(*c)])[0].text for c in ((), (change,)))
    assert measuring_code(before) == measuring_code(after)


@pytest.mark.parametrize("config", [{"a": 1}, {"seed": 1.0}, {"seed": True}, {"seed": 1, "x": [1]}])
def test_a_trial_needs_a_seed_and_plain_values(config):
    with pytest.raises(ClaimError):
        Trial(config)


def test_trials_are_their_configuration():
    assert Trial({"a": 1, "seed": 2}) == Trial({"seed": 2, "a": 1})
    assert len({Trial({"a": 1, "seed": 2}), Trial({"seed": 2, "a": 1}), Trial({"a": 2, "seed": 2})}) == 2


def test_a_grid_has_every_combination_with_every_seed():
    found = grid([0, 1, 2], scheme=("a", "b"), depth=[1, 2], data="digits")
    assert len(set(found)) == 12
    assert {trial["data"] for trial in found} == {"digits"}


@pytest.mark.parametrize(("name", "seed"), [("huge", 0), ("quick", -1), ("quick", 10**7)])
def test_a_budget_out_of_range_is_refused(name, seed):
    with pytest.raises(ParameterValueError):
        Budget(name, seed)


@pytest.mark.parametrize("ranges", [{}, {"a": (2, 1)}, {"a": 3}, {"a": (1, 2, 3)}])
def test_a_prediction_without_ranges_in_order_is_refused(ranges):
    with pytest.raises(ClaimError):
        Prediction("x", **ranges)


def test_nothing_can_be_checked_that_was_not_predicted():
    with pytest.raises(ClaimError, match="before the run"):
        Prediction("x", a=(0, 1))["b"]


ENDS = st.one_of(st.none(), st.floats(-1e6, 0)), st.one_of(st.none(), st.floats(0, 1e6))


@given(st.dictionaries(st.sampled_from("abc"), st.tuples(*ENDS), min_size=1), st.text(max_size=5))
def test_the_hash_of_a_prediction_is_that_of_all_it_says(ranges, statement):
    prediction = Prediction("text", **ranges)
    assert prediction.digest(statement) == Prediction("text", **dict(reversed(ranges.items()))).digest(statement)
    assert prediction.digest(statement) != Prediction("texts", **ranges).digest(statement)
    assert prediction.digest(statement) != prediction.digest(statement + ".")
    assert prediction.digest(statement) != Prediction("text", **ranges, d=(0, 1)).digest(statement)


def test_results_leave_failures_out_and_count_them():
    trials = grid([0, 1], a=(1, 2))
    results = Results(
        [*(Outcome(t, "done", {"m": 1.0}) for t in trials[:3]), Outcome(trials[3], "failed", error="why")]
    )
    assert (len(results), results.failed) == (3, 1)
    first, second = results.pairs("m", {"a": 1}, {"a": 2})
    assert len(first) == len(second) == 1


def test_results_that_are_not_there_are_told():
    results = Results([Outcome(Trial({"a": 1, "seed": 0}), "done", {"m": 1.0})])
    with pytest.raises(NoResultsError, match="'a': 2"):
        results.where(a=2)
    with pytest.raises(NoResultsError, match="partner"):
        Results([*results, Outcome(Trial({"a": 2, "seed": 1}), "done", {"m": 1.0})]).pairs("m", {"a": 1}, {"a": 2})


def test_curves_of_different_lengths_are_cut_and_thinned():
    trials = grid([0, 1])
    results = Results(
        Outcome(t, "done", {}, {"x": list(range(n)), "y": list(range(n))})
        for t, n in zip(trials, (500, 400), strict=True)
    )
    assert results.curves("y").shape == (2, 400)
    line = results.curve_line("label", "x", "y", most=50)
    assert len(line.x) == len(line.y) == len(line.low) == 50
    assert (line.x[0], line.x[-1]) == (0, 399)


def test_figures_and_verdicts_survive_json():
    cells = Cells((1.0, 2.0), (3.0,), ((1.0, 2.0),), "loss")
    bars = Panel("t", "x", "y", (Series("s", ("a", 1.0), (1.0, 2.0)),), "bars", expected=((1.0, "e"),))
    figure = Figure("c", (bars, Panel("h", "x", "y", kind="heat", cells=cells)))
    assert Figure.from_dict(json.loads(json.dumps(figure.to_dict()))) == figure
    verdict = Verdict("refuted", "s", (Check("n", "e", 1.0, float("-inf"), 2.0, Range(high=0.5), 3, None, 0.2),))
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


def test_a_measurement_must_be_one(lab, claim_file):
    path = claim_file(('Measurement({"mean"', 'dict({"mean"'), ('{"draws": drawn[:5].tolist()}', ""))
    lab.run(path)
    assert "must give a Measurement" in lab.rows()[0].error
    assert Measurement({"a": 1.0}).curves == {}
