"""The diagnosis as an object: verdict, dictionary, and the faces that show it."""

import io
import json
import math
from importlib.metadata import EntryPoint

import pytest
import torch
from rich.console import Console

from evenflow.diagnose import check, diagnose
from evenflow.diagnose.plain import plain
from evenflow.errors import MissingExtraError
from evenflow.faces import face


@pytest.fixture
def exploded(zoo):
    torch.manual_seed(0)
    case = zoo.SICK["relu-60-overflow"]
    return check(case.build(), case.batch())


@pytest.fixture
def well(zoo):
    torch.manual_seed(0)
    return check(zoo.mlp(10, weight_=zoo.he_), zoo.digit_vectors())


def test_verdict_and_layers(exploded, well):
    assert (well.ok, exploded.ok) == (True, False)
    assert well.layers is well.record.layers
    assert [layer.name for layer in well.layers] == [str(2 * place) for place in range(10)]


def test_warnings_are_ok_and_errors_are_not(make):
    quiet = make.moments(0.01)
    layers = make.changed(make.chain(1, signal=quiet), 1, input=quiet)
    warned = diagnose(make.network(layers))
    assert [finding.severity for finding in warned.findings] == ["warning"]
    assert warned.ok


def test_repr_names_the_first_finding_and_its_layer(exploded, well):
    assert repr(exploded) == "<Diagnosis of Sequential: sick, 3 findings, first: gain-mismatch at layer '0'>"
    assert repr(well) == "<Diagnosis of Sequential: healthy, 0 findings>"


def test_repr_of_a_finding_at_no_layer(zoo):
    torch.manual_seed(0)
    case = zoo.SICK["infinite-input"]
    shown = repr(check(case.build(), case.batch()))
    assert shown == "<Diagnosis of Sequential: sick, 1 finding, first: non-finite at input>"


def test_to_dict_is_strict_json_also_for_an_exploding_network(sick):
    diagnosis = check(sick.build(), sick.batch())
    told = diagnosis.to_dict()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["ok"] is False
    assert [finding["rule"] for finding in told["findings"]] == [finding.rule for finding in diagnosis.findings]
    assert len(told["record"]["layers"]) == len(diagnosis.layers)


def test_plain_keeps_what_json_knows():
    value = {"a": (1, None, True, "x", [2.5]), "b": {"c": math.nan, "d": -math.inf}}
    assert plain(value) == {"a": [1, None, True, "x", [2.5]], "b": {"c": "nan", "d": "-inf"}}


def test_to_html_writes_a_page_and_returns_its_path(exploded, tmp_path):
    path = exploded.to_html(str(tmp_path / "page.html"))
    assert path == tmp_path / "page.html"
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "Gain mismatch" in text


def test_to_html_where_nothing_can_be_written(exploded, tmp_path):
    with pytest.raises(OSError, match="missing"):
        exploded.to_html(tmp_path / "missing" / "page.html")


def test_a_notebook_shows_the_page(exploded):
    assert "<html" in exploded._repr_html_()


@pytest.mark.parametrize("width", [40, 80, 160])
def test_rich_prints_it(exploded, width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(exploded)
    text = console.export_text()
    assert "Sick" in text
    assert max(map(len, text.splitlines())) <= width


def test_a_face_that_no_package_offers():
    with pytest.raises(MissingExtraError, match="'hologram'"):
        face("hologram")


def test_a_face_whose_package_is_broken(monkeypatch):
    broken = EntryPoint("html", "evenflow.nowhere:html_page", "evenflow.faces")
    monkeypatch.setattr("evenflow.faces.entry_points", lambda **_: [broken])
    with pytest.raises(MissingExtraError, match=r"evenflow\.nowhere"):
        face("html")
