import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from evenflow.errors import MissingExtraError
from evenflow.faces import face
from evenflow.report import Case, Curve, Report, clip_page, html_page, terminal

VOID = {"meta", "br", "hr", "img", "input", "link"}
LOADING = {"src", "srcset", "data", "poster", "action", "background"}


class Page(HTMLParser):
    """Reads a page and remembers its tags, its attributes and its text."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.source, self.open, self.tags, self.attributes, self.text = source, [], [], [], []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        self.text.append(data)

    def values(self, name):
        return [value for _, found, value in self.attributes if found == name]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def report(make):
    curves = (
        Curve("untreated", (0, 100), (2.3, 2.31), (0.1, 0.12)),
        Curve("treated", (0, 100), (2.3, 0.2), (0.1, 0.94)),
    )
    tanh = Case("Tanh <20>", "N(0, 1)", make.saturated_tanh(), make.even_tanh(), curves=curves)
    relu = Case("ReLU", "", make.vanishing_relu(), make.even_tanh(30))
    return Page(html_page(Report("Sick & well", (tanh, relu), ("Seed 0.",))))


@pytest.fixture(scope="module")
def pages(extremes, make):
    drawn = {name: html_page(diagnosis) for name, diagnosis in extremes.items()}
    clippers = {
        "clipping": make.clipper(),
        "clipping hostile": make.clipper("<script>x</script></td>"),
        "no clipping": make.clipper(steps=0),
    }
    drawn |= {name: clip_page(clipper) for name, clipper in clippers.items()}
    return {name: Page(source) for name, source in drawn.items()}


def test_every_tag_is_closed(pages, report):
    assert all(page.open == [] for page in (*pages.values(), report))


def test_nothing_is_loaded_and_nothing_runs(pages, report):
    for page in (*pages.values(), report):
        assert not {"script", "link", "iframe", "object", "embed", "img", "image", "base"} & set(page.tags)
        assert not [name for _, name, _ in page.attributes if name in LOADING or name.startswith("on")]
        assert all(value.startswith("#") for value in page.values("href"))
        assert not re.search(r"@import|url\((?!#)", page.source)


def test_ids_are_unique_and_every_reference_leads_to_one(report):
    ids = report.values("id")
    assert len(ids) == len(set(ids))
    references = [value[1:] for value in report.values("href")] + report.values("aria-labelledby")
    assert set(references) | set(re.findall(r"url\(#([^)]+)\)", report.source)) <= set(ids)


def test_hostile_names_are_text(pages):
    page = pages["hostile names"]
    assert "<script>alert('x')</script>[bold]&\"ünï" in page.words
    assert "</dd>" in page.words


def test_hostile_labels_of_figures_are_text(make):
    curve = Curve("<script>x</script>", (0,), (1.0,), (0.5,))
    other = Curve("</svg><b>", (0,), (1.0,), (0.5,))
    page = Page(html_page(Report("r", (Case("<i>", "</section>", make.even_tanh(2), curves=(curve, other)),))))
    assert not {"script", "b", "i"} & set(page.tags)
    assert page.open == []


def test_the_verdict_is_the_first_heading(pages, make):
    page = Page(html_page(make.saturated_tanh()))
    heading = re.search(r"<h1.*?</h1>", page.source, re.DOTALL).group()
    assert Page(heading).words == "Sick: Gain mismatch at layers.0"
    assert "Healthy" in re.search(r"<h1.*?</h1>", pages["no findings"].source, re.DOTALL).group()


def test_headings_descend_one_level_at_a_time(pages, report):
    for page in (report, *pages.values()):
        levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
        assert levels.count(1) == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_figure_has_a_text_for_those_who_do_not_see_it(report):
    labels = [value for tag, name, value in report.attributes if (tag, name) == ("svg", "aria-label")]
    assert len(labels) == report.tags.count("svg") == report.tags.count("figcaption") > 0
    assert all(len(label) > 20 for label in labels)


def test_consequences_are_folded_under_their_cause(make):
    page = Page(html_page(make.saturated_tanh()))
    assert page.tags.count("article") == 1
    assert "3 consequences of it" in page.words
    assert "The gradient grows by a factor of 7.1e+06" in page.words


def test_the_prescription_is_in_words_and_in_code(make):
    diagnosis = make.vanishing_relu(5)
    page = Page(html_page(diagnosis))
    assert diagnosis.prescription.describe()[0] in page.words
    code = re.search(r"<pre[^>]*><code>(.*?)</code>", page.source, re.DOTALL).group()
    assert diagnosis.prescription.to_code() in "".join(Page(f"{code}</pre>").text)


def test_the_table_has_a_row_a_layer_and_is_folded_when_long(pages):
    long, short = pages["300 layers"], pages["no findings"]
    assert long.words.count("layers.299 ") >= 1
    assert long.tags.count("tr") == 301
    assert "300 layers</summary>" in long.source
    assert "4 layers</summary>" not in short.source


def test_the_summary_compares_the_runs_of_every_case(report):
    assert "Sick untreated 12.0 % 2.31 never Healthy treated 94.0 % 0.2 100" in report.words
    assert report.words.index("94.0 %") < report.words.index("What is wrong")
    assert "Seed 0." in report.words


def test_versions_and_method_are_told(report):
    assert "evenflow 0." in report.words
    assert "torch 2." in report.words
    assert "one batch of 128 samples" in report.words


def test_the_page_is_small_and_always_the_same(extremes):
    page = html_page(extremes["300 layers"])
    assert len(page.encode()) < 1_500_000
    assert page == html_page(extremes["300 layers"])


def test_a_page_in_a_notebook_styles_nothing_but_itself(report):
    style = re.search(r"<style>(.*?)</style>", report.source, re.DOTALL).group(1)
    rules = re.sub(r"@media[^{]*\{", "", style)
    selectors = [part.strip() for rule in re.findall(r"([^{}]+)\{", rules) for part in rule.split(",")]
    assert selectors
    assert all(selector.startswith(".evenflow") for selector in selectors)


@pytest.mark.parametrize("package", ["altair", "vl_convert", "jinja2"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(make, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs {package}.*pip install 'evenflow\[report\]'"):
        html_page(make.even_tanh(2))


def test_the_history_of_a_clipper_is_told(pages):
    page = pages["clipping"]
    assert "60 steps, 7 clipped (12 %), 1 skipped." in page.words
    assert "layer.weight 1 time" in page.words
    assert page.tags.count("svg") == page.tags.count("figcaption") == 3
    assert re.search(r"layer.weight 75 % \d+ \d+", page.words)
    assert "Suggested threshold" in page.words
    assert "No step yet." in pages["no clipping"].words
    assert "Suggested" not in pages["no clipping"].words
    assert "svg" not in pages["no clipping"].tags


def test_hostile_names_of_parameters_are_text(pages):
    assert "<script>x</script></td>" in pages["clipping hostile"].words


def test_a_clipper_writes_its_page(make, tmp_path):
    clipper = make.clipper()
    path = clipper.to_html(tmp_path / "clipping.html")
    assert path.read_text(encoding="utf-8") == clip_page(clipper)


def test_the_entry_points_lead_here():
    assert face("clipping") is clip_page
    assert face("html") is html_page
    assert face("terminal") is terminal


def test_the_text_report_does_not_load_what_only_the_page_needs():
    script = "import sys, evenflow.report; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"altair", "vl_convert", "jinja2"} & set(done.stdout.split())
