"""Plans survive JSON and TOML, and what is no plan is refused with a reason."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import evenflow as ef
from evenflow.errors import PlanError
from evenflow.planning import InitPlan, Row
from evenflow.theory import Fans

NUMBER = st.floats(-1e6, 1e6)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=20)
OPTIONS = {
    "normal": st.fixed_dictionaries(
        {"mean": NUMBER, "std": st.floats(0, 10)}, optional={"padding_idx": st.integers(0, 5)}
    ),
    "uniform": st.tuples(NUMBER, NUMBER).map(lambda ends: {"low": min(ends), "high": max(ends)}),
    "truncated_normal": st.just({"mean": 0.0, "std": 1.0, "low": -math.inf, "high": 2.0}),
    "orthogonal": st.fixed_dictionaries({"gain": NUMBER, "blocks": st.sampled_from([1, 2, 3, 6])}),
    "delta_orthogonal": st.just({"gain": 1.5, "blocks": 1}),
    "constant": st.fixed_dictionaries({"value": NUMBER}),
    "segments": st.just({"values": (0.0, 1.0, 0.5)}),
    "balance": st.just({"weight": "0.weight", "mean": 0.5, "std": 0.1, "dim": 0}),
    "keep": st.just({}),
}  # fmt: skip
MAYBE = st.none() | NUMBER


@st.composite
def rows(draw):
    rule = draw(st.sampled_from(sorted(OPTIONS)))
    return Row(
        name=draw(TEXT), kind=draw(st.sampled_from(["parameter", "buffer"])), shape=(6, draw(st.integers(0, 9))),
        rule=rule,
        options=draw(OPTIONS[rule]), layer=draw(TEXT), role=draw(TEXT), activation=draw(st.none() | TEXT),
        fans=draw(st.none() | st.builds(Fans, st.floats(0, 1e6), st.floats(0, 1e6))), gain=draw(MAYBE), aim=draw(MAYBE),
        measured=draw(MAYBE), reason=draw(TEXT), aliases=tuple(draw(st.lists(TEXT, max_size=2))),
    )  # fmt: skip


PLANS = st.builds(
    InitPlan, model=TEXT, scheme=TEXT, seed=st.integers(-(2**63), 2**63 - 1),
    rows=st.lists(rows(), max_size=4).map(tuple),
    unknown=st.lists(TEXT, max_size=2).map(tuple), notes=st.lists(TEXT, max_size=2).map(tuple),
    audit=st.none(), target=st.none(), again=st.none(),
)  # fmt: skip


@given(PLANS)
def test_a_plan_is_the_same_after_json_toml_and_dictionaries(plan):
    assert InitPlan.from_json(plan.to_json()) == plan
    assert InitPlan.from_toml(plan.to_toml()) == plan
    assert InitPlan.from_dict(plan.to_dict()) == plan


def test_a_plan_that_was_read_writes_the_same_bits():
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    plan = ef.plan(model, torch.randn(9, 5))
    plan.apply_()
    expected = [p.clone() for p in model.parameters()]
    other = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    InitPlan.from_toml(plan.to_toml()).apply_(model=other)
    assert all(torch.equal(a, b) for a, b in zip(expected, other.parameters(), strict=True))


def changed(**changes):
    data = ef.plan(nn.Linear(2, 2)).to_dict()
    data["rows"][0] |= changes
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the plan must be a dictionary; got list"),
        ({}, "the plan has no 'format'"),
        ({**ef.plan(nn.Linear(2, 2)).to_dict(), "format": 9}, "has format 9, and this version of evenflow reads 1"),
        ({**ef.plan(nn.Linear(2, 2)).to_dict(), "colour": 1}, "the plan has no field 'colour'"),
        ({**ef.plan(nn.Linear(2, 2)).to_dict(), "seed": "x"}, "seed must be int; got 'x'"),
        ({**ef.plan(nn.Linear(2, 2)).to_dict(), "rows": [3]}, "row 0 must be a dictionary; got int"),
        (changed(rule="magic"), "weight: there is no rule 'magic'; one of normal, uniform"),
        (changed(shape=[-1]), "shape must be a list of sizes"),
        (changed(fans=[1.0]), "fans must be two numbers"),
        (changed(options={"mean": 0.0}), "the rule 'normal' needs the option 'std'; it takes mean, std"),
        (changed(options={"mean": 0.0, "std": 1.0, "x": 1}), "the rule 'normal' has no option 'x'"),
        (changed(options={"mean": 0.0, "std": -1.0}), "std must not be negative; got -1"),
        (changed(options={"mean": math.nan, "std": 1.0}), "mean must be finite; got nan"),
        (
            changed(options={"mean": 0.0, "std": 1.0, "padding_idx": 2}),
            "padding_idx must be the index of one of its 2 rows",
        ),
        (
            changed(rule="orthogonal", options={"gain": 1.0, "blocks": 3}),
            "blocks must be an integer that divides its 2 rows",
        ),
        (changed(rule="uniform", options={"low": 2.0, "high": 1.0}), "low must not be above high"),
        (changed(rule="segments", options={"values": [1.0, 2.0, 3.0]}), "3 values cannot divide its 2 elements"),
        (changed(kind="thing"), "kind must be 'parameter' or 'buffer'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "data",
)
def test_what_is_no_plan_is_refused(data, message):
    with pytest.raises(PlanError, match=message):
        InitPlan.from_dict(data)


def test_text_that_is_no_plan_is_refused():
    with pytest.raises(PlanError, match="the plan is no JSON"):
        InitPlan.from_json("{")
    with pytest.raises(PlanError, match="the plan is no TOML"):
        InitPlan.from_toml("= 1")


def test_one_row_can_be_edited():
    plan = ef.plan(nn.Linear(4, 2))
    edited = plan.replace("weight", rule="uniform", options={"low": -0.1, "high": 0.1})
    assert edited.row("weight").rule == "uniform"
    assert plan.row("weight").rule == "normal"
    edited.apply_()
    assert plan.target.weight.abs().max() <= 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "uniform"}, "'uniform' has no option 'mean'"),
        ({"shape": (3,)}, "belong to the model"),
        ({"size": 3}, "unexpected keyword argument 'size'"),
    ],
    ids=["options", "shape", "field"],
)
def test_an_edit_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(PlanError, match=message):
        ef.plan(nn.Linear(4, 2)).replace("weight", **changes)


def test_there_is_no_row_of_an_unknown_name():
    with pytest.raises(PlanError, match="no row 'wieght'"):
        ef.plan(nn.Linear(4, 2)).row("wieght")


def test_names_that_look_like_markup_are_shown_as_they_are():
    model = nn.ModuleDict({"[/x]": nn.Linear(3, 3), "[bold]": nn.Linear(3, 3)})
    made = ef.plan(model)
    shown = str(made.replace("[/x].bias", reason="[/] is no tag")) + str(made.diff("torch"))
    assert all(text in shown for text in ("[/x].weight", "[bold].weight", "[/] is no tag"))
    noted = InitPlan("[/Model]", "auto", 0, made.rows, unknown=("[/x]: what is this?",), notes=("[red]: a note",))
    assert all(text in str(noted) for text in ("[/Model], scheme auto", "unknown: [/x]: what", "note: [red]: a note"))
