"""Which code a trial's numbers follow from, and on what machine they came about."""

import ast
import os
import platform
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from importlib.metadata import version as installed
from pathlib import Path

import evenflow
from evenflow.lab.claim import without_docstrings

# What trials compute with; not what arranges, judges or shows them.
PARTS = ("checks.py", "theory", "random", "kernels", "init", "planning", "norm", "clip", "probe", "data")
LAB_PARTS = ("execute.py", "trial.py", "training", "measures")
LIBRARIES = ("torch", "numpy", "scipy")


@cache
def code_version() -> str:
    """A hash of evenflow's code that trials compute with, and of the versions of the libraries below it.

    Comments and docstrings do not count.
    """
    return digest_of(Path(evenflow.__file__).parent, [f"{name} {installed(name)}" for name in LIBRARIES])


def digest_of(root: Path, libraries: Sequence[str]) -> str:
    """A hash of the code below a package's folder that trials compute with, and of some lines about libraries."""
    places = [root / part for part in PARTS] + [root / "lab" / part for part in LAB_PARTS]
    shared = (root / "lab" / "claims").glob("_[!_]*.py")  # a claim's own file has its own hash
    files = sorted([*shared, *(f for place in places for f in ([place] if place.suffix else place.rglob("*.py")))])
    digest = blake2b("\n".join(libraries).encode(), digest_size=8)
    for file in files:
        digest.update(f"{file.relative_to(root).as_posix()}\n".encode())
        digest.update(ast.dump(without_docstrings(ast.parse(file.read_bytes()))).encode())
    return digest.hexdigest()


@cache
def environment() -> dict[str, str]:
    """The machine and the versions, in words."""
    return {
        "evenflow": evenflow.__version__,
        "python": platform.python_version(),
        **{name: installed(name) for name in LIBRARIES},
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
