import csv
import re
import shutil
import sqlite3

import pytest
from typer.testing import CliRunner

from evenflow.cli.app import app
from evenflow.lab.store import Store

CLAIM = """
import torch

from evenflow.lab import Figure, Measurement, Panel, Prediction, grid, judge, mean_check
from evenflow.lab.training import load_split

ID = "U1"
TITLE = "Even seeds"
STATEMENT = "Draws have a mean of zero."
SOURCE = "a test"
PREDICTION = Prediction("The mean is near 0.", mean=(-1, 1))


def design(budget):
    return grid(budget.seeds(4, 6, 8), size=[100, 200], data=budget.data or "digits")


def measure(trial):
    inputs = load_split(trial["data"]).inputs
    return Measurement({"mean": float(torch.randn(trial["size"]).mean()), "features": inputs.shape[1]}, {"c": [1.0]})


def verdict(results):
    return judge([mean_check(PREDICTION, "mean", results.values("mean"), "mean")], "It is near zero.")


def figure(results):
    return Figure("Means by size.", (Panel("Means", "size", "mean", (results.line("mean", "size", "mean"),)),))
"""


@pytest.fixture
def folder(write, tmp_path):
    """An empty working folder with a claim in it."""
    write()
    (tmp_path / "claim.py").write_text(CLAIM)
    return tmp_path


@pytest.fixture(scope="module")
def store_of_a_run(tmp_path_factory):
    """The store that a run leaves behind, made once."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "claim.py").write_text(CLAIM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, ["lab", "run", "claim.py", "--workers", "1"], prog_name="evenflow")
    assert result.exit_code == 0, result.output
    return folder / "evenflow-lab.db", result


@pytest.fixture
def measured(store_of_a_run, folder):
    """The working folder of a test, with a copy of that store."""
    path, result = store_of_a_run
    shutil.copy(path, folder)
    return result


def test_run_tells_the_verdict_and_keeps_it(measured, cli, folder):
    assert "U1 supported: It is near zero." in measured.stderr
    assert (folder / "evenflow-lab.db").is_file()
    listed = cli("lab", "list", "claim.py", "T24").stdout
    assert re.search(r"U1\s+supported\s+quick", listed)
    assert re.search(r"T24\s+not measured", listed)


def test_a_second_run_measures_nothing(measured, cli):
    again = cli("lab", "run", "claim.py")
    assert again.exit_code == 0
    assert "8 of 8 trials are in the store" in again.stderr


def test_all_claims_are_listed_without_a_store(cli, folder):
    shown = cli("lab", "list")
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in ("T1", "T24", "not measured"))
    assert not (folder / "evenflow-lab.db").exists()


def test_status_tells_how_far_a_run_is(measured, cli):
    shown = cli("lab", "status").stdout
    assert re.search(r"U1\s+8\s+8\s+0\s+0", shown)
    assert "finished" in shown


def test_status_reads_while_another_process_writes(measured, cli, folder):
    with sqlite3.connect(folder / "evenflow-lab.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("UPDATE runs SET ended = NULL, how = NULL, process = 1")
        assert "finished" in cli("lab", "status").stdout
        other.execute("COMMIT")
    assert "running" in cli("lab", "status").stdout


def test_status_knows_a_run_that_was_killed(measured, cli, folder):
    with sqlite3.connect(folder / "evenflow-lab.db") as other:
        other.execute("UPDATE runs SET ended = NULL, how = NULL, process = 4194303")
    assert "killed" in cli("lab", "status").stdout


def test_status_of_an_empty_store(cli, folder):
    Store(folder / "evenflow-lab.db").close()
    assert "nothing was run yet" in cli("lab", "status").stdout


def test_the_report_is_a_page(measured, cli, folder):
    result = cli("lab", "report", "-o", "lab.html")
    assert result.exit_code == 0
    page = (folder / "lab.html").read_text()
    assert "It is near zero." in page
    assert "<svg" in page
    assert "evenflow lab run" in page


def test_the_report_is_markdown_with_figures_beside_it(measured, cli, folder):
    assert cli("lab", "report", "-o", "lab.md").exit_code == 0
    text = (folder / "lab.md").read_text()
    (name,) = re.findall(r"!\[U1\]\((.*)\)", text)
    assert (folder / name).read_text().lstrip().startswith("<svg")


def test_export_writes_a_row_for_each_trial(measured, cli, folder):
    assert cli("lab", "export", "-o", "t.csv").exit_code == 0
    with (folder / "t.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert {row["config.size"] for row in rows} == {"100", "200"}
    assert all(abs(float(row["metric.mean"])) < 1 for row in rows)


def test_export_writes_parquet_with_curves(measured, cli, folder):
    from pyarrow import parquet

    assert cli("lab", "export", "-o", "t.parquet", "--claim", "U1").exit_code == 0
    table = parquet.read_table(folder / "t.parquet").to_pylist()
    assert len(table) == 8
    assert all(row["curve.c"] == [1.0] and row["config.seed"] in range(4) for row in table)


def test_a_trial_that_fails_is_told_and_decides_the_exit_code(cli, folder):
    (folder / "claim.py").write_text(CLAIM.replace("    inputs =", "    assert trial.seed, 'zero'\n    inputs ="))
    result = cli("lab", "run", "claim.py", "--workers", 1)
    assert result.exit_code == 1
    assert result.stderr.count("failed U1") == 2
    assert "AssertionError: zero" in result.stderr
    assert re.search(r"U1\s+8\s+8\s+0\s+2", cli("lab", "status").stdout)


OWN = """
def own_data():
    return torch.randn(40, 5, generator=fixed), torch.arange(40) % 3
"""


def test_a_data_set_of_ones_own_replaces_that_of_the_claims(cli, folder, write):
    write(OWN)
    result = cli("lab", "run", "claim.py", "--workers", 1, "--data", "own.py:own_data")
    assert result.exit_code == 0, result.output
    with Store(folder / "evenflow-lab.db") as store:
        rows = store.rows()
    assert {row.metrics["features"] for row in rows} == {5}
    assert len(list(folder.glob("evenflow-lab-data-*.safetensors"))) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("list", "T99"), "there is no claim 'T99'"),
        (("run", "nowhere.py"), "there is no file nowhere.py"),
        (("run", "claim.py", "--data", "cifar"), "there is no data set 'cifar'"),
        (("run", "claim.py", "--data", "own.py:build"), "it must be (inputs, targets)"),
        (("run", "claim.py", "--address", "auto"), "add --engine ray"),
        (("run", "claim.py", "--store", "nowhere/lab.db"), "there is no folder nowhere"),
        (("status",), "there is no store"),
        (("report",), "there is no store"),
        (("report", "-o", "lab.pdf"), "must end in .html or .md"),
        (("export", "-o", "lab.xls"), "must end in .csv or .parquet"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(refused, folder, arguments, message):
    told, _ = refused("lab", *arguments)
    assert message in told


def test_a_report_without_verdicts_says_so(refused, folder):
    Store(folder / "evenflow-lab.db").close()
    assert "there is no verdict" in refused("lab", "report")[0]


def test_a_changed_prediction_is_refused_with_the_way_out(measured, refused, cli, folder):
    (folder / "claim.py").write_text(CLAIM.replace("(-1, 1)", "(-2, 2)"))
    assert "--changed rerun" in refused("lab", "run", "claim.py")[0]
    assert cli("lab", "run", "claim.py", "--changed", "rerun").exit_code == 0
