"""Every example runs as its reader would run it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SICK = {
    "deep_tanh_wide_weights": ("digits", "gain-mismatch", "linear1"),
    "deep_relu_glorot": ("digits", "gain-mismatch", "stem"),
    "zero_init_cnn": ("digits-images", "symmetric", "conv1"),
}
COMMANDS = {
    (file.name, command)
    for file in sorted([*EXAMPLES.glob("*.py"), EXAMPLES / "README.md"])
    for command in re.findall(r"evenflow (check examples/[^`#\n]+)", file.read_text())
}


@pytest.fixture(params=SICK)
def example(request):
    return request.param


@pytest.fixture(autouse=True)
def working_folder(tmp_path, monkeypatch):
    """A folder with a copy of the examples, as a reader of them has."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)


def test_the_faulty_layer_and_its_cause_come_first(cli, example):
    data, rule, layer = SICK[example]
    result = cli("check", f"examples/{example}.py:build", "--data", data, "--format", "json")
    first = json.loads(result.stdout)["findings"][0]
    assert result.exit_code == 1
    assert (first["severity"], first["rule"], first["layer"], first["cause"]) == ("error", rule, layer, None)


def test_after_treat_the_exit_code_is_0(cli, example):
    data, *_ = SICK[example]
    assert cli("check", f"examples/{example}.py:build_treated", "--data", data).exit_code == 0
    assert cli("check", f"examples/{example}.py:build", "--data", data, "--treat").exit_code == 0


def test_whatever_the_seed(cli, example):
    data, *_ = SICK[example]
    for seed in range(1, 6):
        assert cli("check", f"examples/{example}.py:build", "--data", data, "--seed", seed).exit_code == 1
        assert cli("check", f"examples/{example}.py:build_treated", "--data", data, "--seed", seed).exit_code == 0


def test_own_data_raw_and_standardised(cli):
    raw = cli("check", "examples/own_data.py:build", "--data", "examples/own_data.py:raw_batches", "--format", "json")
    assert raw.exit_code == 1
    assert json.loads(raw.stdout)["findings"][0]["rule"] == "input-scale"
    assert cli("check", "examples/own_data.py:build", "--data", "examples/own_data.py:batches").exit_code == 0


@pytest.mark.parametrize(("file", "command"), sorted(COMMANDS))
def test_every_command_that_is_written_down_runs(cli, file, command):
    result = cli(*shlex.split(command))
    assert result.exit_code == int(
        ":build " in f"{command} " and "--treat" not in command and ":batches" not in command
    )


def test_the_commands_are_found():
    assert len(COMMANDS) >= 10
    assert {file for file, _ in COMMANDS} == {"README.md", "own_data.py", *(f"{name}.py" for name in SICK)}


def test_the_real_command_line():
    command = [sys.executable, "-m", "evenflow", "check", "examples/deep_relu_glorot.py:build"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert "gain mismatch at stem" in done.stdout
