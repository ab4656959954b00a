"""How the command line ends: usage, debugging, interrupts, and readers that have gone."""

import signal
import subprocess
import sys

import pytest

from evenflow.version import __version__

WAITING = (
    "\ndef data():\n    print('waiting', flush=True)\n    import threading\n    threading.Event().wait(60)\n"
    "    yield inputs, targets"
)

# A background job inherits a SIGINT that is ignored; a program in a terminal does not.
AS_FROM_A_TERMINAL = (
    "import runpy, signal; "
    "signal.signal(signal.SIGINT, signal.default_int_handler); "
    "runpy.run_module('evenflow', run_name='__main__', alter_sys=True)"
)


@pytest.fixture
def start(write):
    """Starts `python -m evenflow` with pipes; the user's file is there."""
    write(WAITING)
    processes = []

    def started(*arguments):
        command = [sys.executable, "-c", AS_FROM_A_TERMINAL, *arguments]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield started
    for process in processes:
        process.kill()
        process.communicate()


def test_no_arguments_show_the_help(cli):
    result = cli()
    assert result.exit_code == 2
    assert "check" in result.output
    assert "demo" in result.output


def test_help_says_what_debug_and_the_exit_codes_are(cli):
    assert "--debug" in cli("--help").stdout
    assert "Exits with 0 when the model is healthy" in " ".join(cli("check", "--help").stdout.split())


def test_the_version(cli):
    result = cli("--version")
    assert (result.exit_code, result.stdout) == (0, f"evenflow {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["chekc", "own.py:build"],
        ["check", "own.py:build", "--format", "xml"],
        ["check", "own.py:build", "--seed", "-1"],
        ["check", "own.py:build", "--seed", "x"],
        ["check", "own.py:build", "--no-such-option"],
        ["check", "own.py:build", "own.py:build"],
    ],
)
def test_a_line_that_is_no_command_exits_with_2(cli, write, arguments):
    write()
    result = cli(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error" in result.stderr


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_anywhere_on_the_line_shows_the_traceback_of_the_users_code(cli, write, place):
    write("def model():\n    raise KeyError('deep inside')")
    line = ["check", "own.py:model"]
    line.insert(place, "--debug")
    result = cli(*line)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert 'own.py", line 14, in model' in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: own.py:model raised KeyError: 'deep inside'")


def test_an_error_of_the_file_system_is_told(refused, write, monkeypatch):
    write("def model(): open('nothing.pt')")
    assert "No such file or directory: 'nothing.pt'" in refused("check", "own.py:model")[0]


def test_an_interrupt_in_the_users_code_exits_with_130(cli, write):
    write("def model(): raise KeyboardInterrupt")
    result = cli("check", "own.py:model")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def test_ctrl_c_ends_without_a_traceback(start):
    process = start("check", "own.py:build", "--data", "own.py:data")
    assert process.stderr.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 130


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_reader_that_has_gone_gets_no_traceback(start, form):
    process = start("check", "own.py:build", "--data", "own.py:batches", "--format", form)
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait(timeout=60) == 141
