"""`evenflow init` as a user calls it: a file that is complete or not there."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, load_model
from torch import nn

import evenflow as ef
from evenflow.cli.weights import write_weights
from evenflow.errors import DestinationError

TIED = """
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("steps", torch.arange(3))
    def forward(self, x):
        return self.b(self.a(x))
"""


def network():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def test_the_file_holds_what_initialize_writes(cli, write):
    result = cli("init", f"{write()}:build", "-o", "w.safetensors", "--seed", "3")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert "w.safetensors: 4 tensors written once each" in result.stderr
    model = network()
    ef.initialize_(model, seed=3)
    found = load_file("w.safetensors")
    assert set(found) == set(model.state_dict())
    assert all(torch.equal(found[name], value) for name, value in model.state_dict().items())
    assert [path.name for path in Path().iterdir() if path.name.startswith(".w")] == []


def test_an_edited_plan_is_carried_out(cli, write):
    text = cli("plan", f"{write()}:build", "--data", "own.py:batches", "--format", "toml").stdout
    Path("plan.toml").write_text(text.replace("value = 0.0", "value = 0.25"))
    assert cli("init", "own.py:build", "-o", "w.safetensors", "--plan", "plan.toml").exit_code == 0
    assert (load_file("w.safetensors")["0.bias"] == 0.25).all()


def test_a_plan_with_data_gives_the_same_weights_as_init_with_data(cli, write):
    Path("plan.json").write_text(cli("plan", f"{write()}:build", "--data", "own.py:batches", "--format", "json").stdout)
    cli("init", "own.py:build", "-o", "a.safetensors", "--plan", "plan.json")
    cli("init", "own.py:build", "-o", "b.safetensors", "--data", "own.py:batches")
    assert Path("a.safetensors").read_bytes() == Path("b.safetensors").read_bytes()


def test_shared_tensors_and_buffers_come_back(cli, write):
    assert cli("init", f"{write(TIED)}:Tied", "-o", "w.safetensors").exit_code == 0
    tied = nn.Module()
    tied.a, tied.b = nn.Embedding(20, 8), nn.Linear(8, 20, bias=False)
    tied.b.weight = tied.a.weight
    tied.register_buffer("steps", torch.zeros(3, dtype=torch.int64))
    load_model(tied, "w.safetensors")
    assert tied.steps.tolist() == [0, 1, 2]
    assert tied.a.weight.std() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "missing/w.safetensors"], "there is no folder missing"),
        (["-o", "."], "is a folder; name a file in it"),
        (["-o", "w.safetensors", "--plan", "own.py"], "must end in .toml or .json"),
        (["-o", "w.safetensors", "--plan", "no.toml"], "cannot be read"),
        (["-o", "w.safetensors", "--plan", "no.toml", "--scheme", "torch"], "leave out --data and --scheme"),
        (["-o", "w.safetensors", "--scheme", "magic"], "scheme is unknown"),
    ],
)
def test_a_wrong_call_is_refused_and_leaves_no_file(refused, write, options, message):
    assert message in refused("init", f"{write()}:build", *options)[0]
    assert not Path("w.safetensors").exists()


def test_a_plan_for_another_model_is_refused(refused, write):
    name = write("def small():\n    return nn.Linear(8, 3)\n")
    Path("plan.json").write_text(ef.plan(network()).to_json())
    message = refused("init", f"{name}:small", "-o", "w.safetensors", "--plan", "plan.json")[0]
    assert "Linear has no tensor 0.weight" in message


def test_a_failed_write_keeps_the_older_file(tmp_path, monkeypatch):
    target = tmp_path / "w.safetensors"
    target.write_bytes(b"older")

    def full(self, other):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DestinationError, match="No space left"):
        write_weights(network(), target)
    assert target.read_bytes() == b"older"
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("place", ["/proc/w.safetensors", "/sys/w.safetensors", "pipe"])
def test_a_place_that_takes_no_file_is_refused_before_the_work(refused, write, place):
    name = write()
    os.mkfifo("pipe")
    message = refused("init", f"{name}:build", "-o", place, "--data", "nothing")[0]
    assert message.startswith(f"--output {place}")
    assert "name another file" in message
    assert Path("pipe").is_fifo()


def test_a_link_leads_to_the_file_that_is_written(cli, write):
    Path("link.safetensors").symlink_to("real.safetensors")
    assert cli("init", f"{write()}:build", "-o", "link.safetensors").exit_code == 0
    assert Path("link.safetensors").is_symlink()
    assert len(load_file("real.safetensors")) == 4


PARTS = """
class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        memory = torch.zeros(16, 8)
        self.a, self.b, self.c = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.a.weight, self.b.weight = nn.Parameter(memory[:8]), nn.Parameter(memory[8:])
        self.c.weight = nn.Parameter(torch.zeros(8, 4).t())
"""


def test_parts_of_one_memory_and_transposed_weights_are_written_as_they_look(cli, write):
    assert cli("init", f"{write(PARTS)}:Parts", "-o", "w.safetensors").exit_code == 0
    found = load_file("w.safetensors")
    assert [tuple(found[f"{name}.weight"].shape) for name in "abc"] == [(8, 8), (8, 8), (4, 8)]
    assert not torch.equal(found["a.weight"], found["b.weight"])
    assert all(found[f"{name}.weight"].std() > 0 for name in "abc")


@pytest.mark.parametrize("wrap", ["torch.compile(build(), backend='eager')", "nn.DataParallel(build())"])
def test_the_names_are_those_of_the_model_inside_its_wrapper(cli, write, wrap):
    assert cli("init", f"{write(f'def wrapped(): return {wrap}')}:wrapped", "-o", "w.safetensors").exit_code == 0
    assert set(load_file("w.safetensors")) == set(network().state_dict())


STRANGE = """
class Extra(nn.Linear):
    def __init__(self): super().__init__(3, 3)
    def get_extra_state(self): return {"steps": 3}
    def set_extra_state(self, state): pass

def wide(): return nn.Linear(3, 3, dtype=torch.complex128)

def sparse():
    model = nn.Linear(3, 3)
    model.register_buffer("graph", torch.eye(3).to_sparse())
    return model
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Extra", "safetensors has no form for _extra_state, which is a dict"),
        ("wide", "safetensors has no form for weight, a tensor of dtype torch.complex128"),
        ("sparse", "safetensors has no form for graph, a tensor of dtype torch.float32 and layout torch.sparse_coo"),
    ],
)
def test_what_safetensors_has_no_form_for_is_named(refused, write, name, message):
    assert message in refused("init", f"{write(STRANGE)}:{name}", "-o", "w.safetensors")[0]
    assert [path.name for path in Path().iterdir() if "safetensors" in path.name] == []
