"""The command line on the core alone: the packages of the extras are made impossible to import."""

import json
import subprocess
import sys

import pytest

EXTRAS = ["altair", "vl_convert", "jinja2", "sklearn", "pandas"]
BLOCKED = """
import sys
for name in {names!r}:
    sys.modules[name] = None
from evenflow.cli import main
main()
"""


@pytest.fixture
def bare(write):
    """Runs a command line in a process that has no extra."""
    write()

    def run(*arguments):
        code = BLOCKED.format(names=EXTRAS)
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    return run


def test_own_data_can_be_checked(bare):
    result = bare("check", "own.py:build", "--data", "own.py:batches", "--format", "json")
    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout)["ok"]


def test_the_digits_say_what_to_install(bare):
    result = bare("check", "own.py:build")
    assert (result.returncode, result.stdout) == (2, "")
    assert "pip install 'evenflow[lab]'" in result.stderr


def test_the_packages_are_really_blocked(bare):
    result = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(names=EXTRAS).replace("from evenflow.cli import main", "import altair")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "altair" in result.stderr
    assert result.returncode == 1
