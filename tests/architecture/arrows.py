"""Which part of evenflow may import which, and a reader of the imports that finds the reversed ones."""

import ast
from collections.abc import Iterator
from pathlib import Path

BASE = {"errors", "checks", "version", "callers", "uncompiled", "faces"}

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "version": set(),
    "checks": {"errors"},
    "callers": set(),
    "uncompiled": set(),
    "faces": {"errors"},
    "theory": BASE,
    "kernels": {"errors"},
    "random": BASE | {"kernels"},
    "init": BASE | {"theory", "random", "kernels"},
    "norm": BASE | {"kernels", "probe"},
    "clip": BASE | {"kernels"},
    "probe": BASE | {"theory", "kernels"},
    "planning": BASE | {"init", "probe", "theory", "random"},
    "diagnose": BASE | {"probe", "theory", "random", "init", "norm", "clip"},
    "data": BASE,
    "lab": BASE | {"theory", "random", "kernels", "init", "planning", "norm", "clip", "probe", "diagnose", "data"},
    "report": BASE | {"clip", "diagnose", "probe", "lab"},
    "demo": BASE | {"data", "diagnose", "init", "random"},
    "cli": BASE | {"data", "demo", "diagnose", "lab", "planning", "probe", "report"},
}

# Inside `diagnose`, only the remedies reach for the packages that change a model.
REMEDIES_ONLY = {"random", "init", "norm", "clip"}

# Inside `norm`, only operations on a whole model read a batch, run the model and restore it, as a measurement does.
SURGERY_ONLY = {"probe"}

# The page of the lab is drawn from the records in its store, and from nothing that measures.
RECORDS_ONLY = {"evenflow.lab.figure", "evenflow.lab.records", "evenflow.lab.verdict"}


def imported_modules(path: Path, package: str) -> Iterator[str]:
    """Yield every dotted name that the file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                yield ".".join([*base, node.module] if node.module else base)
            elif node.module == "evenflow":
                yield from (f"evenflow.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


def reversed_arrows(root: Path) -> list[str]:
    """List the imports below `root` (the folder of the package) that the table does not allow."""
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).with_suffix("").parts
        if inside in {("__init__",), ("__main__",)}:
            continue
        part = inside[0]
        package = ".".join(("evenflow", *inside[:-1]))
        for name in imported_modules(path, package):
            if not name.startswith("evenflow.") or name.split(".")[1] == part:
                continue
            target = name.split(".")[1]
            reserved = {"diagnose": ("treat", REMEDIES_ONLY), "norm": ("surgery", SURGERY_ONLY)}.get(part)
            outside = reserved is not None and target in reserved[1] and inside[1] != reserved[0]
            beyond_records = part == "report" and target == "lab" and not name.startswith(tuple(RECORDS_ONLY))
            if target not in ALLOWED.get(part, set()) or outside or beyond_records:
                found.append(f"{'/'.join(inside)} imports {name}")
    return found
