import subprocess
import sys

import pytest

HEAVY = {"altair", "typer", "sklearn", "numba", "torch", "scipy", "vl_convert", "jinja2", "rich", "pandas"}


def loaded_by(code):
    script = f"{code}\nimport sys\nprint('\\n'.join({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_evenflow_loads_nothing_heavy():
    assert not loaded_by("import evenflow") & (HEAVY | {"numpy"})


@pytest.mark.parametrize("part", ["theory", "random"])
def test_theory_and_random_do_not_need_torch_nor_the_compiler(part):
    assert not loaded_by(f"import evenflow; evenflow.{part}") & {"torch", "numba"}


@pytest.mark.parametrize("part", ["check", "init", "norm", "clip", "treat_"])
def test_the_core_does_not_load_what_only_reports_need(part):
    loaded = loaded_by(f"import evenflow; evenflow.{part}")
    assert not loaded & (HEAVY - {"torch", "scipy"})


def test_a_heavy_import_would_be_seen():
    assert "sklearn" in loaded_by("import evenflow, sklearn") & HEAVY


def test_every_public_name_resolves():
    assert loaded_by("import evenflow\nfor name in evenflow.__all__: getattr(evenflow, name)")
