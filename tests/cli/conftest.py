import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evenflow.cli.app import app

USER_FILE = """
import torch
from torch import nn

fixed = torch.Generator().manual_seed(0)
inputs, targets = torch.randn(64, 8, generator=fixed), torch.randint(3, (64,), generator=fixed)

def build():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))

def batches():
    yield inputs, targets
"""


@pytest.fixture(autouse=True)
def own_import_state(monkeypatch):
    """Files of one test are importable in it alone."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith(("evenflow_user_", "own_")):
            del sys.modules[name]


@pytest.fixture
def cli(monkeypatch):
    """Runs a command line in a terminal of 80 columns, and gives its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="evenflow")

    return run


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a user's file to an empty working folder: a healthy `build`, one good batch, and what the test adds."""
    monkeypatch.chdir(tmp_path)

    def written(code="", name="own.py"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(USER_FILE + code)
        return name

    return written


@pytest.fixture
def refused(cli):
    """Runs a wrong command line: exit code 2, nothing on stdout, and the message, on one line, without a traceback."""

    def run(*arguments):
        result = cli(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        first = result.stderr.splitlines()[0]
        assert first.startswith("error: ")
        assert "Traceback" not in result.stderr
        return first.removeprefix("error: "), result.stderr

    return run
