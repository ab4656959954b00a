"""The written page in a real browser: what a colleague sees who opens it."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Error, sync_playwright

from evenflow.report import Case, Curve, Report, html_page

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FACTORY = Path(__file__).parents[1] / "report" / "factory.py"


@pytest.fixture(scope="module")
def make():
    spec = importlib.util.spec_from_file_location("browser_report_factory", FACTORY)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser():
    executable = os.environ.get("EVENFLOW_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=executable, args=FLAGS)
        except Error as error:
            pytest.fail(
                f"no Chromium could be started ({executable or 'none on the path'}): run `playwright install "
                f"chromium`, or set EVENFLOW_CHROMIUM to its executable\n{error.message}"
            )
        yield started
        started.close()


@pytest.fixture(scope="module")
def written(make, tmp_path_factory):
    """Files of a page on one diagnosis and of a report on two cases."""
    folder = tmp_path_factory.mktemp("pages")
    curves = (
        Curve("untreated", (0, 100), (2.3, 2.31), (0.1, 0.12)),
        Curve("treated", (0, 100), (2.3, 0.2), (0.1, 0.94)),
    )
    tanh = Case("20 layers of tanh", "N(0, 1)", make.saturated_tanh(), make.even_tanh(), curves=curves)
    relu = Case("30 layers of ReLU", "Glorot", make.vanishing_relu(), make.even_tanh(30), curves=curves)
    report = folder / "report.html"
    report.write_text(html_page(Report("Two sick networks", (tanh, relu))), encoding="utf-8")
    clipping = make.clipper().to_html(folder / "clipping.html")
    return {
        "diagnosis": make.saturated_tanh().to_html(folder / "diagnosis.html"),
        "report": report,
        "clipping": clipping,
    }


@pytest.fixture
def visit(browser, written):
    """Opens a written page at a width; remembers what it asked for and what it complained about."""
    pages = []

    def open_at(name, width):
        page = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(page)
        page.requested, page.complaints = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.goto(written[name].as_uri())
        return page

    yield open_at
    for page in pages:
        page.close()


@pytest.mark.parametrize("name", ["diagnosis", "report", "clipping"])
def test_the_page_asks_for_nothing_but_itself_and_raises_no_error(visit, written, name):
    page = visit(name, 1200)
    page.wait_for_load_state("networkidle")
    assert page.requested == [written[name].as_uri()]
    assert page.complaints == []


def test_the_verdict_is_visible_without_scrolling(visit):
    heading = visit("diagnosis", 420).get_by_role("heading", level=1)
    assert heading.inner_text() == "Sick: Gain mismatch at layers.0"
    assert heading.bounding_box()["y"] < 200


def test_the_summary_is_visible_without_scrolling(visit):
    table = visit("report", 1200).get_by_role("region", name="Summary of all networks")
    box = table.bounding_box()
    assert box["y"] + box["height"] < 900
    assert "94.0 %" in table.inner_text()


def test_the_consequences_open_on_a_click_and_by_the_keyboard(visit):
    page = visit("diagnosis", 1200)
    consequence = page.get_by_role("heading", name="Exploding gradient")
    summary = page.get_by_text("3 consequences of it")
    assert not consequence.is_visible()
    summary.click()
    assert consequence.is_visible()
    summary.press("Enter")
    assert not consequence.is_visible()


def test_a_case_is_reached_from_the_summary(visit):
    page = visit("report", 1200)
    page.get_by_role("link", name="30 layers of ReLU").click()
    assert page.evaluate("location.hash") == "#case-2"
    assert page.evaluate("document.querySelector('#case-2').getBoundingClientRect().top") < 300


@pytest.mark.parametrize("name", ["diagnosis", "report", "clipping"])
@pytest.mark.parametrize("width", [320, 420, 1200])
def test_nothing_overflows_the_width_even_when_all_is_unfolded(visit, name, width):
    page = visit(name, width)
    page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_figures_are_drawn_as_images_with_a_name(visit):
    page = visit("report", 1200)
    figure = page.get_by_role("img", name="Training loss.").first
    box = figure.bounding_box()
    assert box["width"] > 400
    assert box["height"] > 200


@pytest.mark.parametrize("width", [420, 1200])
def test_text_in_figures_stays_readable(visit, width):
    page = visit("diagnosis", width)
    heights = page.evaluate(
        "[...document.querySelectorAll('figure svg text')].map(text => text.getBoundingClientRect())"
        ".map(box => Math.min(box.width, box.height)).filter(height => height > 0)"
    )
    assert len(heights) > 20
    assert sorted(heights)[len(heights) // 2] >= 9
