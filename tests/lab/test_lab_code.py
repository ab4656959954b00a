import shutil
from pathlib import Path

import pytest

import evenflow
from evenflow.lab.code import code_version, digest_of, environment

ROOT = Path(evenflow.__file__).parent
COUNTS = (
    "init/he.py",
    "norm/normalize.py",
    "data/digits.py",
    "lab/training/single.py",
    "lab/measures/shift.py",
    "lab/claims/_tuned.py",
)
DOES_NOT_COUNT = (
    "cli/app.py",
    "report/html.py",
    "lab/store/database.py",
    "lab/verdict.py",
    "lab/claims/t24_algorithm_one.py",
)


@pytest.fixture
def package(tmp_path):
    return Path(shutil.copytree(ROOT, tmp_path / "evenflow", ignore=shutil.ignore_patterns("__pycache__")))


def test_what_trials_compute_with_counts(package):
    before = digest_of(package, ["torch 1"])
    assert digest_of(package, ["torch 1"]) == before
    assert digest_of(package, ["torch 2"]) != before
    for part in COUNTS:
        text = (package / part).read_text()
        (package / part).write_text(text + "\nADDED = 1\n")
        assert digest_of(package, ["torch 1"]) != before, part
        (package / part).write_text(text)
    assert digest_of(package, ["torch 1"]) == before


def test_what_only_tells_arranges_or_judges_does_not_count(package):
    before = digest_of(package, [])
    for part in DOES_NOT_COUNT:
        (package / part).write_text((package / part).read_text() + "\nADDED = 1\n")
    he = package / "init" / "he.py"
    he.write_text("# A comment.\n" + he.read_text().replace('"""', '"""Told otherwise: ', 1))
    assert digest_of(package, []) == before


def test_the_version_and_the_environment_are_those_of_this_process():
    assert code_version() == code_version()
    assert len(code_version()) == 16
    assert environment()["evenflow"] == evenflow.__version__
    assert {"torch", "numpy", "scipy", "python", "cores", "processor"} <= set(environment())
