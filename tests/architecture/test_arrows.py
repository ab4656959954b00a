import importlib.util
import sys
from pathlib import Path

import pytest

import evenflow

SPEC = importlib.util.spec_from_file_location("arrows", Path(__file__).with_name("arrows.py"))
arrows = importlib.util.module_from_spec(SPEC)
sys.modules["arrows"] = arrows
SPEC.loader.exec_module(arrows)

PACKAGE = Path(evenflow.__file__).parent


def test_no_import_goes_against_the_arrows():
    assert arrows.reversed_arrows(PACKAGE) == []


def test_every_part_of_the_package_is_in_the_table():
    parts = {p.stem for p in PACKAGE.glob("*.py")} | {p.parent.name for p in PACKAGE.glob("*/__init__.py")}
    assert parts - {"__init__", "__main__"} <= set(arrows.ALLOWED)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("theory/fans.py", "from evenflow.init import zeros_"),
        ("theory/fans.py", "from evenflow import init"),
        ("theory/fans.py", "from ..init import zeros_"),
        ("probe/capture.py", "import evenflow.diagnose"),
        ("diagnose/check.py", "def f():\n    from evenflow.report import html"),
        ("diagnose/rules/dead.py", "from evenflow.init import he_normal_"),
        ("norm/modules.py", "from evenflow.probe import preserved"),
        ("lab/runner.py", "from evenflow.report import html_page"),
        ("lab/runner.py", "from evenflow.cli import main"),
        ("report/lab.py", "from evenflow.lab.runner import run"),
        ("probe/capture.py", "from evenflow.lab.figure import Figure"),
        ("newcomer/thing.py", "from evenflow.errors import EvenflowError"),
    ],
)
def test_a_reversed_import_is_found(tmp_path, file, line):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n")
    assert len(arrows.reversed_arrows(tmp_path)) == 1


def test_surgery_may_import_what_runs_a_model(tmp_path):
    path = tmp_path / "norm" / "surgery" / "fold.py"
    path.parent.mkdir(parents=True)
    path.write_text("from evenflow.probe import preserved\n")
    assert arrows.reversed_arrows(tmp_path) == []


def test_a_remedy_may_import_what_changes_a_model(tmp_path):
    path = tmp_path / "diagnose" / "treat" / "reinitialize.py"
    path.parent.mkdir(parents=True)
    path.write_text("from evenflow.init import he_normal_\n")
    assert arrows.reversed_arrows(tmp_path) == []
