import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from evenflow.report.rows import ENDS, abridge, layer_rows
from evenflow.report.stages import depths, stages


def shape(items):
    return [item if isinstance(item, int) else item.name for item in items]


def test_a_row_knows_the_findings_of_its_layer(make):
    row = layer_rows(make.saturated_tanh())[3]
    assert row.rules == ("gain-mismatch", "saturated", "exploding-gradient")
    assert (row.severity, row.first) == ("error", True)


def test_moments_that_hide_nan_are_shown_as_nan(make):
    (row,) = layer_rows(make.diagnosis([make.layer(signal=make.moments(0.5, nonfinite=1))]))
    assert math.isnan(row.rms)


def test_a_second_call_of_a_layer_is_told_apart_and_starts_no_finding(make):
    layers = [make.layer(0, name="shared"), make.layer(1, name="shared", call=1)]
    first, second = layer_rows(make.diagnosis(layers, [make.finding(layer="shared")]))
    assert (first.name, first.first) == ("shared", True)
    assert (second.name, second.first, second.severity) == ("shared (call 2)", False, "error")


def test_a_short_table_is_not_abridged(make):
    rows = layer_rows(make.even_tanh(16))
    assert abridge(rows, 16) == list(rows)


def test_a_long_table_keeps_its_ends_and_the_rows_where_findings_begin(make):
    rows = layer_rows(make.vanishing_relu(30))
    kept = shape(abridge(rows, 16))
    assert kept[:ENDS] == [row.name for row in rows[:ENDS]]
    assert kept[-ENDS:] == [row.name for row in rows[-ENDS:]]
    assert kept[ENDS : ENDS + 3] == [8, "body.24", 13]


def test_a_gap_of_one_row_is_filled_by_the_row(make):
    diagnosis = make.even_tanh(20)
    begins = make.finding(layer=f"layers.{ENDS + 1}")
    rows = layer_rows(make.diagnosis(diagnosis.layers, [begins]))
    assert shape(abridge(rows, 16))[: ENDS + 3] == [*(f"layers.{i}" for i in range(ENDS + 2)), 10]


@given(depth=st.integers(0, 60), begins=st.sets(st.integers(0, 59)), most=st.integers(8, 20))
def test_abridging_loses_no_row_uncounted_and_keeps_the_order(make, depth, begins, most):
    layers = [make.layer(i) for i in range(depth)]
    rows = layer_rows(make.diagnosis(layers, [make.finding(layer=f"layers.{i}") for i in begins]))
    items = abridge(rows, most)
    shown = [item for item in items if not isinstance(item, int)]
    assert len(shown) + sum(item for item in items if isinstance(item, int)) == depth
    assert [row.depth for row in shown] == sorted(row.depth for row in shown)
    assert not any(isinstance(a, int) and isinstance(b, int) for a, b in pairwise(items))


def test_an_inserted_normalisation_moves_no_later_layer(make):
    layers = [
        make.layer(0, name="a", normalised=True, activation=None, gradient=make.moments(0.1)),
        make.layer(1, name="a_norm", kind="BatchNorm1d", role="norm", signal=make.moments(0.6)),
        make.layer(2, name="b"),
    ]
    first, second = stages(make.diagnosis(layers))
    assert (first.depth, first.layer, first.signal.rms, first.activation.name) == (1, "a", 0.6, "tanh")
    assert first.gradient == make.moments(0.1)
    assert (second.depth, second.layer) == (2, "b")
    assert depths(make.diagnosis(layers)) == (1, 1, 2)


def test_a_normalisation_before_its_layer_is_a_stage_of_its_own(make):
    layers = [make.layer(0, activation=None), make.layer(1, role="norm"), make.layer(2)]
    assert depths(make.diagnosis(layers)) == (1, 2, 3)
