import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evenflow.lab.figure import Cells, Figure, Panel, Series
from evenflow.lab.prediction import Range
from evenflow.lab.records import ClaimRow, Entry, Summary, VerdictRow
from evenflow.lab.verdict import Check, Verdict
from evenflow.report.lab import lab_markdown, lab_page
from evenflow.report.lab.panels import panel_chart

FACTS = ("evenflow", "python", "torch", "numpy", "scipy", "system", "machine", "processor", "cores")
MACHINE = dict.fromkeys(FACTS, "1")


def entry(identifier, word, panels=(), p=0.01):
    check = Check("e", "steps, <ratio>", 2.0, 1.5, 2.5, Range(low=1.0), 9, p, 1.2)
    claim = ClaimRow(
        id=identifier,
        title="A & B",
        statement="It is so.",
        source="a paper",
        prediction="We shall see.",
        ranges={"e": "at least 1"},
        hash="abcd",
        fixed="2026-01-02T03:04",
    )
    row = VerdictRow(
        claim=claim,
        budget="quick",
        base_seed=0,
        verdict=Verdict("supported", "It was <so>.", (check,)),
        figure=Figure("Look.", tuple(panels)),
        trials=12,
        failed=1,
        seconds=3.0,
        name=identifier,
        made="2026",
    )
    return Entry(row, word, p)


LINE = Panel(
    "Lines",
    "x",
    "y",
    (
        Series("a", (1.0, 2.0, 3.0), (1.0, 0.0, math.inf), (0.5, 0.0, 1.0), (2.0, 0.0, math.inf)),
        Series("b", (1.0, 2.0), (3.0, 4.0)),
    ),
    log_y=True,
    expected=((2.0, "two"),),
    marked=((1.5, "here"),),
)
BARS = Panel("Bars", "scheme", "y", (Series("a", ("he", "glorot"), (1.0, 2.0), (0.5, 1.0), (2.0, 3.0)),), "bars")
HEAT = Panel("Heat", "x", "y", kind="heat", cells=Cells((1.0, 2.0), (3.0, 4.0), ((1.0, 2.0), (math.nan, 4.0)), "loss"))
DOTS = Panel("Dots", "x", "y", (Series("a", (1.0, 10.0), (1.0, 2.0)),), "dots", log_x=True)
EMPTY = Panel("Empty", "x", "y")
WORDS = ("supported", "refuted", "depends", "inconclusive")


@pytest.fixture(scope="module")
def summary():
    panels = ((LINE, BARS), (HEAT,), (DOTS, EMPTY), ())
    entries = tuple(entry(f"T{i}", word, p) for i, (word, p) in enumerate(zip(WORDS, panels, strict=True), start=1))
    began, ended = "2026-01-01T00:00:00", "2026-01-01T00:10:00"
    return Summary(entries, "quick", 0, "evenflow lab run", MACHINE, 300.0, began, ended)


@pytest.fixture(scope="module")
def page(summary):
    return lab_page(summary)


class Balanced(HTMLParser):
    """Fails on a tag that closes another."""

    def __init__(self, source):
        super().__init__()
        self.open, self.attributes = [], []
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing(page):
    attributes = Balanced(page).attributes
    assert "<script" not in page
    assert not [value for name, value in attributes if name in {"src", "srcset"}]
    assert all(value.startswith("#") for name, value in attributes if name == "href")


def test_the_verdicts_come_first_and_lead_to_their_sections(page):
    table = page.index('class="verdicts"')
    for number, word in enumerate(WORDS, start=1):
        assert table < page.index(f'<section class="case" id="claim-T{number}"')
        assert f'href="#claim-T{number}"' in page
        assert f">{word}</span>" in page
    assert "1 supported, 1 refuted, 1 depends, 1 inconclusive" in page


def test_ids_are_unique(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_section_has_all_that_was_fixed_and_found(page):
    fixed = ("It is so.", "a paper", "We shall see.", "hash abcd")
    found = ("It was &lt;so&gt;.", "steps, &lt;ratio&gt;", "A &amp; B")
    for text in fixed + found:
        assert text in page
    assert "evenflow lab run T2 --budget quick" in page
    assert "12 trials, 1 failed" in page


def test_every_panel_that_shows_something_is_drawn(page):
    assert page.count("<svg") == 4


@pytest.mark.parametrize("panel", [LINE, BARS, HEAT, DOTS], ids=lambda panel: panel.title)
def test_panels_are_charts_with_their_titles(panel):
    from evenflow.report.figures.svg import standalone_svg

    svg = standalone_svg(panel_chart(panel))
    assert f">{panel.x}<" in svg
    assert f">{panel.y}<" in svg


@pytest.mark.parametrize("panel", [LINE, BARS, DOTS, HEAT], ids=lambda panel: panel.title)
def test_panels_hold_their_data(panel):
    chart = panel_chart(panel).to_dict()
    layers = chart.get("layer", [chart])
    assert all(layer["data"] != {"name": "empty"} for layer in layers)
    assert "empty" not in chart.get("datasets", {})


def test_bars_name_what_they_compare():
    from evenflow.report.figures.svg import standalone_svg

    svg = standalone_svg(panel_chart(BARS))
    assert ">he<" in svg
    assert ">glorot<" in svg


def test_infinite_and_zero_values_are_marked_and_rules_labelled():
    from evenflow.report.figures.svg import standalone_svg

    svg = standalone_svg(panel_chart(LINE))
    assert "NaN, ∞" in svg
    assert ">zero<" in svg
    assert ">two<" in svg
    assert ">here<" in svg


def test_a_panel_of_nothing_is_no_chart():
    assert panel_chart(EMPTY) is None
    assert panel_chart(Panel("", "x", "y", kind="heat")) is None


def test_markdown_says_the_same_with_figures_in_files(summary):
    text, figures = lab_markdown(summary, Path("figures"))
    assert sorted(figures) == ["t1-1.svg", "t1-2.svg", "t2-1.svg", "t3-1.svg"]
    assert all(f"(figures/{name})" in text for name in figures)
    assert "| [T2](#claim-t2) A & B | **refuted** | 0.01 | It was <so>. |" in text
    assert "`evenflow lab run T1 --budget quick`" in text
    assert "hash abcd" in text


def axis_of(chart, channel="x"):
    layers = chart.to_dict().get("layer", [chart.to_dict()])
    return next(layer["encoding"][channel]["axis"] for layer in layers if channel in layer["encoding"])


def test_few_places_on_a_logarithmic_axis_are_its_labels_and_many_are_not():
    few, many = (
        Panel("", "rate", "y", (Series("a", tuple(10.0**i for i in range(n)), (1.0,) * n),), log_x=True) for n in (5, 9)
    )
    assert axis_of(panel_chart(few))["values"] == [1.0, 10.0, 100.0, 1000.0, 10000.0]
    assert "values" not in axis_of(panel_chart(many))


@pytest.mark.parametrize(("places", "shown"), [(5, 5), (8, 8), (15, 8), (17, 6)])
def test_a_heat_map_labels_at_most_eight_places(places, shown):
    at = tuple(float(i) for i in range(places))
    chart = panel_chart(Panel("", "x", "y", kind="heat", cells=Cells(at, at, (at,) * places, "loss")))
    assert len(axis_of(chart)["values"]) == len(axis_of(chart, "y")["values"]) == shown
