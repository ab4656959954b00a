"""`evenflow plan` as a user calls it."""

import json
import re
import tomllib

import pytest

STRANGE = """
class Strange(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 3)
    def forward(self, x):
        return self.b(torch.fft.fft(self.a(x)).real)
"""


def test_the_plan_is_a_table_with_a_reason_for_every_row(cli, write):
    result = cli("plan", f"{write()}:build", "--data", "own.py:batches")
    assert result.exit_code == 0
    assert result.stdout.startswith("Sequential, scheme auto, seed 0\n")
    for text in ("0.weight", "orthogonal", "2.bias", "reads what relu lets"):
        assert text in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert result.stderr == ""


def test_without_data_the_plan_says_what_it_could_not_see(cli, write):
    result = cli("plan", f"{write()}:build")
    assert result.exit_code == 0
    assert "note: made without a batch" in result.stdout


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("toml", tomllib.loads)])
def test_the_plan_as_data(cli, write, form, read):
    result = cli("plan", f"{write()}:build", "--data", "own.py:batches", "--format", form, "--seed", "4")
    told = read(result.stdout)
    assert (told["model"], told["scheme"], told["seed"]) == ("Sequential", "auto", 4)
    assert [row["name"] for row in told["rows"]] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_what_another_scheme_would_do(cli, write):
    text = cli("plan", f"{write()}:build", "--data", "own.py:batches", "--diff", "torch")
    assert text.stdout.startswith("4 tensors differ between auto and torch, 0 do not\n")
    told = json.loads(cli("plan", f"{write()}:build", "--diff", "he_normal", "--format", "json").stdout)
    assert {change["name"] for change in told["changes"]} <= {"0.weight", "2.weight"}


def test_something_unknown_is_told_by_the_exit_code(cli, write):
    result = cli("plan", f"{write(STRANGE)}:Strange", "--data", "own.py:batches")
    assert result.exit_code == 1
    assert "unknown: fft_fft" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--scheme", "magic"], "scheme is unknown: 'magic'"),
        (["--scheme", "lsuv"], "pass a batch"),
        (["--diff", "torch", "--format", "toml"], "--diff is printed as text or json"),
        (["--diff", "magic"], "scheme is unknown: 'magic'"),
        (["--data", "nothing"], "there is no built-in data set 'nothing'"),
    ],
)
def test_a_wrong_call_is_refused(refused, write, options, message):
    assert message in refused("plan", f"{write()}:build", *options)[0]


def test_help_names_the_exit_codes(cli):
    assert re.search(r"Exits with 0", cli("plan", "--help").stdout)
