"""When Numba is loaded, what becomes of its cache, and what happens without it; each in a fresh process."""

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

import evenflow
from evenflow import kernels
from evenflow.kernels import registry
from evenflow.random import Stream

PACKAGE = Path(evenflow.__file__).parent
NEEDED = ("__init__.py", "version.py", "errors.py", "checks.py", "random", "kernels")
DRAW = """
import sys
from hashlib import sha256
from evenflow.random import Stream
print(sha256(Stream(0, "a").uniform(2**20)).hexdigest(), "numba" in sys.modules)
"""
COMPILE = """
from evenflow.kernels import draw_rows, drawing, jit
loop = jit.callback(draw_rows.rows_of(drawing.UNIFORM, 0))
print("cached" if loop.cache_hits else "compiled")
"""


def output(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout.split()


def by_numpy(count, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "find", lambda name, count: None)
        return sha256(Stream(0, "a").uniform(count)).hexdigest()


def test_a_small_network_never_loads_numba():
    code = """
import sys, torch, evenflow as ef
model = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(10)])
for name, parameter in model.named_parameters():
    ef.init.normal_(parameter, stream=ef.random.Stream(0, name))
print("numba" in sys.modules)
"""
    assert output(code) == ["False"]


def test_the_first_large_draw_loads_numba(monkeypatch):
    assert registry.WORTH_LOADING <= 2**20
    assert output(DRAW) == [by_numpy(2**20, monkeypatch), "True"]


def test_once_loaded_a_kernel_makes_small_draws_too():
    assert kernels.find("normal", registry.WORTH_LOADING) is not None
    assert kernels.find("normal", 1) is kernels.find("normal", 2**30)


def test_without_numba_numpy_draws_the_same_bits(monkeypatch):
    digest, _ = output("import sys; sys.modules['numba'] = None\n" + DRAW)
    assert digest == by_numpy(2**20, monkeypatch)


def test_with_the_compiler_off_numpy_draws_the_same_bits(monkeypatch):
    assert output(DRAW, NUMBA_DISABLE_JIT="1")[0] == by_numpy(2**20, monkeypatch)


def test_the_compiled_loop_survives_the_process(tmp_path):
    assert output(COMPILE, NUMBA_CACHE_DIR=str(tmp_path)) == ["compiled"]
    assert output(COMPILE, NUMBA_CACHE_DIR=str(tmp_path)) == ["cached"]


@pytest.mark.parametrize("damage", [b"", b"no pickle"])
def test_a_damaged_cache_is_passed_over(tmp_path, damage):
    output(COMPILE, NUMBA_CACHE_DIR=str(tmp_path))
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(damage)
    assert output(COMPILE, NUMBA_CACHE_DIR=str(tmp_path)) == ["compiled"]


def test_without_any_folder_to_write_to_it_compiles_in_each_process(tmp_path, monkeypatch):
    copy, file = tmp_path / "evenflow", tmp_path / "file"
    copy.mkdir()
    file.touch()
    for name in NEEDED:
        copied = shutil.copytree if (PACKAGE / name).is_dir() else shutil.copy
        copied(PACKAGE / name, copy / name)
    # A file where a folder should be is as little use to root as to anyone.
    shutil.rmtree(copy / "kernels" / "__pycache__", ignore_errors=True)
    (copy / "kernels" / "__pycache__").touch()
    places = {"PYTHONPATH": str(tmp_path), "HOME": str(file), "XDG_CACHE_HOME": str(file), "NUMBA_CACHE_DIR": ""}
    assert [output(COMPILE, **places) for _ in range(2)] == [["compiled"]] * 2
    assert output(DRAW, **places) == [by_numpy(2**20, monkeypatch), "True"]
