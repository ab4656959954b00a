import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenflow.diagnose.finding import Finding
from evenflow.report.chains import chains, more_layers, place, title

RULES = ["a", "b", "c", "d"]


def found(rule, cause=None, layer="layer", layers=()):
    return Finding(rule, "error", layer, {}, "seen", "do", layers, cause)


def test_consequences_of_consequences_belong_to_the_root():
    root, middle, last = found("a"), found("b", "a"), found("c", "b")
    (chain,) = chains([root, middle, last])
    assert (chain.root, chain.consequences) == (root, (middle, last))


def test_a_finding_whose_cause_was_not_found_is_a_root():
    assert [chain.root.rule for chain in chains([found("b", "a"), found("c")])] == ["b", "c"]


def test_a_circle_of_causes_has_its_first_finding_as_root():
    (chain,) = chains([found("a", "b"), found("b", "a")])
    assert (chain.root.rule, [f.rule for f in chain.consequences]) == ("a", ["b"])


@given(st.lists(st.tuples(st.sampled_from(RULES), st.none() | st.sampled_from([*RULES, "unknown"])), max_size=8))
def test_every_finding_is_in_exactly_one_chain(pairs):
    findings = [found(rule, cause, layer=str(i)) for i, (rule, cause) in enumerate(pairs)]
    listed = [f for chain in chains(findings) for f in (chain.root, *chain.consequences)]
    assert sorted(listed, key=findings.index) == findings


def test_the_first_layer_and_repetitions_are_no_more_layers():
    assert more_layers(found("a", layer="x", layers=("x", "y", "y", "z"))) == ("y", "z")


@pytest.mark.parametrize(
    ("rule", "layer", "said"),
    [
        ("input-scale", "input", ""),
        ("loss-at-start", "loss", ""),
        ("non-finite", "output", "output"),
        ("dead", "0", "0"),
    ],
)
def test_the_place_is_not_said_twice(rule, layer, said):
    assert place(found(rule, layer=layer)) == said


def test_an_unknown_rule_has_a_heading_too():
    assert title("some-new-rule") == "Some new rule"
