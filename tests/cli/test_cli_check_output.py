import json

import pytest
from rich.cells import cell_len

KEYS = ["evenflow", "model", "ok", "findings", "prescription", "record", "treatment"]
SICK = """
def sick():
    layers = [nn.Linear(8, 8)]
    for _ in range(12):
        layers += [nn.Tanh(), nn.Linear(8, 8)]
    model = nn.Sequential(*layers)
    for layer in model[::2]:
        nn.init.normal_(layer.weight, std=5.0)
    return model

def nan():
    model = build()
    model[0].weight.data[0] = float("nan")
    return model

def talkative():
    print("chatter")
    return build()
"""


def strict(text):
    """JSON as its standard has it: no NaN, no Infinity."""

    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def check(cli, write):
    write(SICK)
    return lambda name, *options: cli("check", f"own.py:{name}", "--data", "own.py:batches", *options)


@pytest.mark.parametrize(("name", "code"), [("build", 0), ("sick", 1), ("nan", 1)])
@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_the_exit_code_is_the_verdict_in_every_format(check, name, code, form):
    assert check(name, "--format", form).exit_code == code


@pytest.mark.parametrize("name", ["build", "sick", "nan"])
def test_json_has_the_documented_keys_and_no_nan(check, cli, name):
    told = strict(check(name, "--format", "json").stdout)
    assert list(told) == KEYS
    assert told["model"] == f"own.py:{name}"
    assert told["treatment"] is None
    assert told["ok"] is (name == "build")
    described = " ".join(cli("check", "--help").stdout.replace("│", " ").split())
    assert all(f" {key}" in described for key in KEYS)


def test_json_of_a_treatment_holds_the_verdict_after_it(check):
    result = check("sick", "--treat", "--format", "json")
    told = strict(result.stdout)
    assert result.exit_code == 0
    assert not told["ok"]
    assert told["treatment"]["kept"]
    assert told["treatment"]["after"]["ok"]


def test_text_of_a_treatment_shows_both_and_what_was_done(check):
    result = check("sick", "--treat")
    before, after = result.stdout.split("treated ─")
    assert result.exit_code == 0
    assert "Sick" in before
    assert "kept: " in after
    assert "Healthy" in after


def test_a_treatment_that_does_not_help_exits_as_sick(check, write):
    write(SICK + "shifted = inputs + 1000, targets", "shifted.py")
    result = check("build", "--data", "shifted.py:shifted", "--treat")
    assert result.exit_code == 1
    assert "not treated ─" in result.stdout


def test_text_fits_80_columns_and_has_no_escapes_when_piped(check):
    for result in (check("sick", "--treat"), check("nan"), check("build")):
        assert max(cell_len(line) for line in result.stdout.splitlines()) <= 80
        assert "\x1b" not in result.stdout


def test_what_the_users_code_prints_is_no_part_of_the_output(check):
    result = check("talkative", "--format", "json")
    assert strict(result.stdout)["ok"]
    assert result.stderr == "chatter\n"


def test_html_on_standard_output_is_a_page(check):
    page = check("sick", "--format", "html").stdout
    assert page.startswith("<!doctype html>")
    assert page.rstrip().endswith("</html>")
    assert "gain mismatch" in page.lower()


def test_a_page_is_written_beside_the_text_and_its_path_told(check, tmp_path):
    result = check("sick", "--treat", "--html", "page.html")
    assert result.stderr == f"report: {tmp_path / 'page.html'}\n"
    assert "Sick" in result.stdout
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "own.py:sick" in page
    assert "treated" in page


def test_a_name_that_looks_like_markup_is_printed_as_it_is(check, write):
    write(SICK + "def build(): return nn.Sequential(nn.Linear(8, 3))", "[bold].py")
    assert check("build").exit_code == 0
    result = check("build", "--data", "[bold].py:nothing")
    assert "[bold].py has no 'nothing'" in result.stderr
