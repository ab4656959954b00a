import io

import pytest
from rich.console import Console
from rich.text import Text

from evenflow.report import Case, Curve, Report, outcome_table, terminal
from evenflow.report.sparkline import sparkline


def printed(renderable, width=80, encoding="utf-8", **options):
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    Console(file=file, width=width, **options).print(renderable)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(extremes, width):
    for name, diagnosis in extremes.items():
        lines = printed(terminal(diagnosis), width).splitlines()
        assert max(Text(line).cell_len for line in lines) <= width, name


def test_the_verdict_comes_first_and_the_prescription_last(make):
    lines = printed(terminal(make.saturated_tanh())).splitlines()
    assert lines[0] == "Sick  TanhNetwork: gain mismatch at layers.0 (3 errors, 1 warning in 20 layers)"
    assert lines[-3].startswith("Prescription")
    assert lines[-1].strip() == "2. clip the gradient norm at 1 before every optimizer step"


def test_consequences_stand_indented_under_their_cause(make):
    lines = printed(terminal(make.saturated_tanh())).splitlines()
    cause = lines.index("error  Gain mismatch at layers.0  + 19 more layers")
    follows = [line.rstrip() for line in lines[cause:] if line.lstrip().startswith("follows:")]
    assert follows == [
        "    follows: error  Saturated activations at layers.0  + 18 more layers",
        "    follows: error  Exploding gradient at layers.3  + 16 more layers",
        "    follows: warning  Loss at start",
    ]


def test_explanation_and_remedy_of_a_cause_are_shown(make):
    text = " ".join(printed(terminal(make.vanishing_relu())).split())
    assert "multiply the signal by 1, where relu wants 1.41" in text
    assert "Remedy: Draw the weights by the rule of the activation (He)." in text


def test_a_healthy_network_has_no_prescription(make):
    text = printed(terminal(make.even_tanh()))
    assert text.startswith("Healthy  TanhNetwork: nothing wrong found in 20 layers")
    assert "Prescription" not in text


def test_the_long_table_says_how_many_rows_it_leaves_out(make):
    text = printed(terminal(make.even_tanh(40)))
    assert "… 32 more" in text
    assert "layers.39" in text
    assert "layers.20" not in text


def test_columns_without_values_are_left_out(make):
    text = printed(terminal(make.vanishing_relu()))
    assert "dead" in text
    assert "saturated" not in text


def test_all_columns_fit_a_narrow_terminal(extremes):
    text = printed(terminal(extremes["not finite and zero"]), 80)
    for heading in ("layer", "kind", "activation", "signal", "spread", "saturated", "dead", "gradient"):
        assert f" {heading}" in text


def test_nan_and_zero_are_written_as_such(extremes):
    lines = printed(terminal(extremes["not finite and zero"])).splitlines()
    zero, broken = (next(line for line in lines if f"  {name}  " in line) for name in ("layers.1", "layers.2"))
    assert zero.split()[-1] == "0"
    assert broken.split()[-1] == "NaN"


def test_names_are_no_markup(make):
    diagnosis = make.diagnosis([make.layer(name="[red]x[/red]")], [make.finding(layer="[red]x[/red]")])
    assert printed(terminal(diagnosis)).count("[red]x[/red]") >= 3


def test_severity_is_a_word_and_colour_only_where_the_terminal_has_it(make):
    plain, coloured = (
        printed(terminal(make.saturated_tanh()), **options)
        for options in ({}, {"force_terminal": True, "color_system": "standard"})
    )
    assert "\x1b[" not in plain
    assert "\x1b[1;31merror" in coloured
    assert "error  Gain mismatch" in plain


def test_no_color_is_respected(make, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(terminal(make.saturated_tanh()), force_terminal=True, color_system="standard")
    assert "31m" not in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_without_unicode_gets_characters_that_it_has(extremes, encoding):
    for diagnosis in extremes.values():
        printed(terminal(diagnosis), encoding=encoding)
    text = printed(terminal(extremes["300 layers"]), encoding="ascii")
    assert "~ 292 more" in text or "~ 291 more" in text


def test_the_table_of_outcomes_compares_before_and_after(make):
    curves = (
        Curve("untreated", (0, 500), (2.3, 2.3), (0.1, 0.11)),
        Curve("treated", (0, 500), (2.3, 0.0135), (0.1, 0.957)),
    )
    report = Report("Demo", (Case("20 layers of tanh", "", make.saturated_tanh(), curves=curves),))
    rows = [line.split() for line in printed(outcome_table(report)).splitlines() if "treated" in line]
    assert rows[0][-5:] == ["untreated", "11.0", "%", "2.3", "never"]
    assert rows[1] == ["treated", "95.7", "%", "0.0135", "500"]


def test_the_table_of_outcomes_folds_long_titles(make):
    case = Case("a title without end " * 9, "", make.even_tanh(2), curves=(Curve("run", (0,), (1.0,), (0.5,)),))
    lines = printed(outcome_table(Report("Demo", (case,))), 80).splitlines()
    assert max(map(len, lines)) <= 80
    assert "steps to 90%" in " ".join(lines)


def test_a_sparkline_marks_zero_nan_and_missing_values():
    assert sparkline([1.0, 0.0, float("inf"), None, 100.0], 10) == "▁_! █"


def test_a_long_sparkline_keeps_both_ends():
    line = sparkline([0.0, *[1.0] * 298, float("nan")], 20)
    assert (len(line), line[0], line[-1]) == (20, "_", "!")
