import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenflow.report.figures.curves import accuracy_chart, loss_chart
from evenflow.report.figures.depth import gradient_chart, signal_chart
from evenflow.report.figures.gallery import depth_figures, training_figures
from evenflow.report.figures.histograms import MOST_LAYERS, histogram_chart, in_own_units
from evenflow.report.figures.log_axis import LogAxis
from evenflow.report.figures.shares import share_chart
from evenflow.report.figures.svg import inline_svg
from evenflow.report.model import Case, Curve
from evenflow.report.stages import stages

NAN, INF = math.nan, math.inf


def rows(chart):
    """All data rows of a chart."""
    return [row for data in chart.to_dict()["datasets"].values() for row in data] if chart else []


def drawn(chart, **wanted):
    """The rows with these values in the order of the axis, without the repetitions of layered marks."""
    found = [row for row in rows(chart) if all(row.get(key) == value for key, value in wanted.items())]
    return sorted({tuple(sorted(row.items())): row for row in found}.values(), key=lambda row: row["x"])


def networks(*diagnoses):
    return dict(zip(("untreated", "treated"), map(stages, diagnoses), strict=False))


@given(st.lists(st.floats(min_value=0) | st.just(NAN)))
def test_every_value_has_a_place_inside_the_log_axis(values):
    axis = LogAxis.around(values)
    assert 0 < axis.floor < axis.ceiling < INF
    for value in values:
        y, state = axis.place(value)
        assert axis.floor <= y <= axis.ceiling
        assert state == ("not finite" if not math.isfinite(value) else "measured" if value > 0 else "zero")


@given(st.lists(st.floats(min_value=1e-230, max_value=1e230), min_size=1), st.booleans(), st.booleans())
def test_zeros_and_nan_are_drawn_apart_from_every_measured_value(values, zeros, nans):
    axis = LogAxis.around(values + [0.0] * zeros + [NAN] * nans)
    places = [axis.place(value)[0] for value in values]
    assert places == pytest.approx(values, rel=1e-9)
    if zeros:
        assert axis.place(0.0)[0] <= min(places) / 9
    if nans:
        assert axis.place(INF)[0] >= max(places) * 9


def test_the_ends_of_the_log_axis_are_named_for_what_they_stand_for():
    axis = LogAxis.around([1e-4, 1.0, 0.0, NAN])
    assert axis.ticks[0] == axis.floor
    assert axis.ticks[-1] == axis.ceiling
    assert "'zero'" in axis.label_expression
    assert "'NaN, ∞'" in axis.label_expression
    assert "zero" not in LogAxis.around([1.0]).label_expression


def test_the_signal_is_drawn_at_its_value_for_both_networks(make):
    sick, well = make.vanishing_relu(5), make.even_tanh(5)
    chart = signal_chart(networks(sick, well))
    points = drawn(chart, line="untreated", measure="rms")
    assert [row["y"] for row in points] == [layer.signal.rms for layer in sick.layers]
    assert [row["x"] for row in points] == [1, 2, 3, 4, 5]
    assert len(drawn(chart, line="treated", measure="spread")) == 5


def test_a_zero_is_an_open_mark_that_interrupts_the_line(make):
    layers = [make.layer(i, signal=make.moments(value)) for i, value in enumerate((1.0, 0.0, 0.01))]
    chart = signal_chart(networks(make.diagnosis(layers)))
    before, zero, after = drawn(chart, measure="rms")
    assert (before["state"], zero["state"], after["state"]) == ("measured", "zero", "measured")
    assert zero["y"] < 0.01
    assert before["run"] != after["run"]
    lines, open_marks = chart.to_dict()["layer"][:2]
    assert lines["mark"]["type"] == "line"
    assert open_marks["mark"]["filled"] is False


def test_a_layer_without_gradient_is_left_out_and_not_bridged(make):
    gradients = (make.moments(1.0), None, make.moments(0.5))
    layers = [make.layer(i, gradient=gradient) for i, gradient in enumerate(gradients)]
    first, last = drawn(gradient_chart(networks(make.diagnosis(layers))))
    assert (first["x"], last["x"]) == (1, 3)
    assert first["run"] != last["run"]


def test_nan_is_drawn_at_the_top(make):
    layers = [make.layer(0), make.layer(1, signal=make.moments(0.5, nonfinite=2))]
    chart = signal_chart(networks(make.diagnosis(layers)))
    (crossed,) = drawn(chart, state="not finite", measure="rms")
    assert crossed["y"] > 1.0


def test_nothing_measured_gives_no_chart(make, extremes):
    assert gradient_chart(networks(extremes["one sample"])) is None
    assert share_chart(networks(extremes["one sample"])) is None
    assert signal_chart(networks(extremes["no layers"])) is None
    assert histogram_chart((), "#000000") is None
    assert loss_chart([]) is None
    assert accuracy_chart([Curve("run", (), (), ())]) is None


def test_the_shares_are_those_of_the_activations(make):
    chart = share_chart(networks(make.saturated_tanh(4)))
    assert [row["y"] for row in drawn(chart, measure="saturated values")] == pytest.approx([0.94, 0.938, 0.936])
    assert drawn(chart, measure="dead units") == []


def test_the_histograms_keep_every_count_and_leave_no_gap_between_columns(make):
    chart = histogram_chart(stages(make.saturated_tanh(200)), "#000000")
    columns = {row["left"]: row["right"] for row in rows(chart)}
    assert len(columns) == MOST_LAYERS
    assert sorted(columns)[1:] == sorted(columns.values())[:-1]
    for left in columns:
        assert sum(row["share"] for row in rows(chart) if row["left"] == left) == pytest.approx(1, abs=1e-3)


def test_saturation_is_dark_at_both_ends_of_the_values(make):
    column = [row for row in rows(histogram_chart(stages(make.saturated_tanh(3)), "#000000")) if row["left"] == 0.5]
    dark = [(row["low"], row["high"]) for row in column if row["weight"] == 1]
    assert [low for low, _ in dark] == pytest.approx([-1, 0.9])
    assert [high for _, high in dark] == pytest.approx([-0.9, 1])


def test_layers_of_very_different_scale_are_drawn_in_their_own_units(make):
    network = stages(make.vanishing_relu(30))
    assert in_own_units(network)
    assert not in_own_units(stages(make.even_tanh(30)))
    chart = histogram_chart(network, "#000000", own_units=True)
    assert max(row["high"] for row in rows(chart)) == pytest.approx(2.1)
    assert chart.to_dict()["encoding"]["y"]["title"] == "value / rms of its layer"


def test_values_that_are_all_equal_are_one_thin_bar(make):
    constant = make.layer(signal=make.moments(0.0, counts=(5, 0, 3), reach=0.0))
    (bar,) = rows(histogram_chart(stages(make.diagnosis([constant])), "#000000"))
    assert bar["share"] == 1
    assert 0 < bar["high"] - bar["low"] < 0.1


def test_the_loss_axis_is_logarithmic_unless_the_loss_is_negative():
    def scale(*losses):
        chart = loss_chart([Curve("run", tuple(range(len(losses))), losses, (0.1,) * len(losses))])
        return chart.to_dict()["layer"][0]["encoding"]["y"]["scale"].get("type", "linear")

    assert (scale(2.3, 0.1), scale(-1.0, -3.0), scale(2.3, NAN), scale(-1.0, NAN)) == (
        "log",
        "linear",
        "log",
        "linear",
    )


def test_a_run_that_diverges_is_crossed_not_dropped():
    chart = loss_chart([Curve("run", (0, 1, 2), (2.3, INF, NAN), (0.1, 0.1, 0.1))])
    assert [row["x"] for row in drawn(chart, state="not finite")] == [1, 2]


def test_the_accuracy_chart_has_a_rule_at_ninety_percent():
    chart = accuracy_chart([Curve("run", (0, 1), (2.3, 1.0), (0.1, 0.2))])
    assert {"y": 0.9, "text": "90%"} in rows(chart)


def test_captions_say_the_numbers_and_explain_the_odd_marks(extremes):
    signal = depth_figures(Case("t", "", extremes["not finite and zero"]))[0]
    assert "From 1.0e-30 at the first layer" in signal.caption
    assert "Open circles: exactly zero." in signal.caption
    assert "Crosses: NaN or infinity." in signal.caption


def test_a_signal_that_does_not_depend_on_the_input_is_explained_in_the_caption(make):
    same = make.diagnosis([make.layer(0), make.layer(1, signal=make.moments(0.5, spread=0.0))])
    assert "Open circles" in depth_figures(Case("t", "", same))[0].caption


def test_captions_tell_the_untreated_from_the_treated(make):
    signal, *_ = depth_figures(Case("t", "", make.vanishing_relu(4), make.even_tanh(4)))
    assert signal.caption == (
        "Untreated: from 1 at the first layer to 0.343 at the last. "
        "Treated: from 0.62 at the first layer to 0.608 at the last."
    )


def test_training_figures_caption_the_last_step(make):
    curves = (Curve("untreated", (0,), (2.3,), (0.1,)), Curve("treated", (0, 5), (2.3, 0.1), (0.1, 0.95)))
    loss, accuracy = training_figures(Case("t", "", make.even_tanh(2), curves=curves))
    assert loss.caption == "At the last step: untreated 2.3, treated 0.1."
    assert accuracy.caption == "At the last step: untreated 10.0 %, treated 95.0 %."


def test_an_accuracy_of_zero_is_an_ordinary_point_and_a_loss_of_zero_an_open_circle(make):
    curve = Curve("run", (0, 1), (2.3, 0.0), (0.0, math.nan))
    loss, accuracy = training_figures(Case("t", "", make.even_tanh(2), curves=(curve,)))
    assert loss.caption.endswith("Open circles: exactly zero.")
    assert accuracy.caption == "At the last step: run \N{EN DASH}. Crosses: NaN or infinity."


def test_an_inline_figure_has_ids_of_its_own_and_a_label(make):
    before = inline_svg(signal_chart(networks(make.even_tanh(3))), 'a "label" <b>')
    other = inline_svg(signal_chart(networks(make.even_tanh(4))), "label")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (before, other)]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", before)) <= ids[0]
    assert before.startswith("<svg viewBox=")
    assert 'role="img" aria-label="a &quot;label&quot; &lt;b&gt;"' in before
