"""The order of findings: properties over arbitrary findings, and the links between symptoms one by one."""

from graphlib import TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenflow.diagnose.causes import CAUSES, sort_by_cause
from evenflow.diagnose.finding import Finding

LAYERS = ("a", "b", "c", "d")
RULES = (
    "non-finite", "input-scale", "symmetric", "gain-mismatch", "saturated", "dead", "exploding-signal",
    "vanishing-signal", "exploding-gradient", "vanishing-gradient", "loss-at-start", "frozen", "eval-mode",
)  # fmt: skip


def finding(rule, layer="a", severity="error", *, compound=1e6, where="forward", layers=None):
    evidence = {"compound": compound, "where": where}
    return Finding(rule, severity, layer, evidence, "It is so.", "Change it.", layers or (layer,))


ONE = st.builds(
    finding,
    st.sampled_from(RULES),
    st.sampled_from(LAYERS),
    st.sampled_from(["error", "warning", "note"]),
    compound=st.sampled_from([1e-6, 1e6]),
    where=st.sampled_from(["data", "parameters", "forward", "backward"]),
)
FINDINGS = st.lists(ONE, max_size=12)
ONE_A_RULE = st.lists(ONE, unique_by=lambda found: found.rule)


def without_cause(found):
    return (found.rule, found.layer, found.severity, found.evidence["compound"], found.evidence["where"])


def test_no_symptom_can_cause_itself_by_any_way_round():
    assert list(TopologicalSorter(CAUSES).static_order())


@given(FINDINGS)
def test_sorting_keeps_every_finding(findings):
    in_order = sort_by_cause(findings, LAYERS)
    assert sorted(map(without_cause, in_order)) == sorted(map(without_cause, findings))


@given(FINDINGS)
def test_every_cause_is_among_the_findings_and_comes_before_what_it_explains(findings):
    seen = set()
    for found in sort_by_cause(findings, LAYERS):
        assert found.cause is None or found.cause in seen
        seen.add(found.rule)


@given(ONE_A_RULE)
def test_a_root_comes_no_later_than_a_root_of_a_milder_chain(findings):
    rank = {"error": 0, "warning": 1, "note": 2}
    in_order = sort_by_cause(findings, LAYERS)
    worst, root_of = {}, {}
    for found in in_order:
        root = root_of[found.rule] = found.rule if found.cause is None else root_of[found.cause]
        worst[root] = min(rank[found.severity], worst.get(root, 2))
    roots = list(dict.fromkeys(root_of[found.rule] for found in in_order))
    assert [worst[root] for root in roots] == sorted(worst[root] for root in roots)


@given(st.data(), st.lists(st.sampled_from(RULES), unique=True))
def test_the_order_of_different_rules_does_not_change_the_links(data, rules):
    findings = [finding(rule) for rule in rules]
    shuffled = data.draw(st.permutations(findings))
    links = {found.rule: found.cause for found in sort_by_cause(findings)}
    assert {found.rule: found.cause for found in sort_by_cause(shuffled)} == links


@given(ONE_A_RULE)
def test_sorting_twice_changes_nothing(findings):
    once = sort_by_cause(findings, LAYERS)
    assert {found.rule: found.cause for found in sort_by_cause(once, LAYERS)} == {
        found.rule: found.cause for found in once
    }


@given(FINDINGS)
def test_nothing_of_the_way_forward_is_explained_by_what_comes_after(findings):
    forward = {"saturated", "dead", "exploding-signal", "vanishing-signal"}
    in_order = sort_by_cause(findings, LAYERS)
    for found in in_order:
        if found.rule in forward and found.cause is not None:
            places = [LAYERS.index(other.layer) for other in in_order if other.rule == found.cause]
            assert min(places) <= LAYERS.index(found.layer)


def causes(*findings):
    return {found.rule: found.cause for found in sort_by_cause(findings, LAYERS)}


@pytest.mark.parametrize(
    ("compound", "explained"),
    [
        (1e-6, {"vanishing-signal", "vanishing-gradient", "dead"}),
        (1e6, {"exploding-signal", "exploding-gradient", "saturated", "loss-at-start", "non-finite"}),
    ],
)
def test_a_gain_explains_what_goes_its_way(compound, explained):
    for symptom in CAUSES:
        found = causes(finding("gain-mismatch", compound=compound), finding(symptom))
        assert (found[symptom] == "gain-mismatch") is (symptom in explained)


@pytest.mark.parametrize(("where", "cause"), [("forward", "gain-mismatch"), ("data", None), ("parameters", None)])
def test_only_an_overflow_has_a_cause(where, cause):
    assert causes(finding("gain-mismatch"), finding("non-finite", where=where))["non-finite"] == cause


def test_a_note_explains_only_what_it_shares_a_layer_with():
    note = finding("gain-mismatch", "b", "note", layers=("b", "c"))
    assert causes(note, finding("saturated", "c"))["saturated"] == "gain-mismatch"
    assert causes(note, finding("saturated", "d"))["saturated"] is None


def test_inputs_that_are_too_large_come_before_the_saturation_that_they_cause():
    in_order = sort_by_cause([finding("input-scale", "input", "warning"), finding("dead", "c"), finding("saturated")])
    assert [found.rule for found in in_order] == ["input-scale", "dead", "saturated"]


def test_without_the_order_of_the_layers_any_place_explains():
    late, early = finding("dead", "d"), finding("vanishing-signal", "a")
    assert sort_by_cause([late, early])[1].cause == "dead"
    assert causes(late, early)["vanishing-signal"] is None
