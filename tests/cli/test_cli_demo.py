"""`evenflow demo` as a command; what it proves is tested in tests/demo."""

import inspect
import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from typer.testing import CliRunner

from evenflow.cli.app import app
from evenflow.cli.demo import demo_command
from evenflow.cli.proofs import prove_all
from evenflow.data import digits
from evenflow.demo import training


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(scope="module")
def told(folder):
    """What a short demo prints into a pipe, run in an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "80")
        result = CliRunner().invoke(app, ["demo", "--epochs", "2"])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_it_tells_the_chain_and_ends_with_table_and_path(told, folder):
    order = ["20 tanh layers, weights from N(0, 1)", "check", "error gain-mismatch at linear1", "treat", "check again"]
    order += ["healthy", "20 tanh layers, all weights zero", "error symmetric at linear1"]
    order += ["30 ReLU layers, Glorot's weights", "test accuracy", "steps to 90", "untreated", "treated"]
    places = [told.index(order[0])]
    for said in order[1:]:
        places.append(told.index(said, places[-1]))
    assert told.rstrip().endswith(f"report: {folder / 'evenflow-demo.html'}")


def test_piped_output_is_clean(told):
    assert "\x1b" not in told
    assert "\r" not in told
    assert "training steps" not in told
    assert max(cell_len(line) for line in told[: told.index("report: ")].splitlines()) <= 80


def test_nothing_but_the_report_is_written(told, folder):
    assert [path.name for path in folder.iterdir()] == ["evenflow-demo.html"]
    page = (folder / "evenflow-demo.html").read_text(encoding="utf-8")
    assert page.count('class="case"') == 3
    assert "<script" not in page


def test_the_budget_is_told_as_it_is(told):
    words = " ".join(told.split())
    assert "trained on 1,437 digits and tested on 360 others" in words
    assert f"from {training.LEARNING_RATE} to 0, and batches of {training.BATCH}, for 2 epochs" in words
    assert "always answers 3, the commonest digit in training, scores 7.8 %" in words


def test_a_terminal_gets_a_progress_bar():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80, highlight=False)
    assert len(prove_all(digits(), 1, console)) == 3
    assert "training steps" in stream.getvalue()
    assert "138/138" in stream.getvalue()


def test_the_default_budget_is_that_of_the_proofs():
    assert inspect.signature(demo_command).parameters["epochs"].default == training.EPOCHS


@pytest.mark.parametrize("epochs", ["0", "-1", "some"])
def test_a_number_of_epochs_that_is_none_is_refused(cli, epochs):
    result = cli("demo", "--epochs", epochs)
    assert (result.exit_code, result.stdout) == (2, "")
