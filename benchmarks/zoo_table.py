"""Signals and gradients of the zoo's networks by initialisation scheme; run it as `python benchmarks/zoo_table.py`.

The result is written to docs/zoo.md. The networks and the measures, torch's own hooks, are those of tests/zoo.
"""

import math
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "zoo"))

import torch  # noqa: E402
from measures import measure, outputs, worst_gradient, worst_size  # noqa: E402
from networks import NETWORKS, Network  # noqa: E402
from rich.progress import track  # noqa: E402

import evenflow as ef  # noqa: E402

FIXED = ("glorot_normal", "he_normal", "lecun_normal", "orthogonal")

HEAD = """# Signals and gradients of 54 networks

Made by `python benchmarks/zoo_table.py`, torch {version}, in {seconds:.0f} seconds. The networks are those of
`tests/zoo`; torch's own hooks measure them, nothing of evenflow's. Each cell holds three numbers:

- *signal*: by what factor the size of the layer furthest from what `auto` aims at there is away from it;
- *gradient*: by what factor the norm of the gradient at the layer furthest from the median layer's is away from it,
  output layers left out;
- *loss*: the loss over that of a guess, for classifiers.

*Best fixed* is that of {fixed} with the most even gradients.

| network | auto | torch's default | best fixed scheme |
|---|---|---|---|"""


def cell(network: Network, scheme: str | None, plan: ef.InitPlan) -> tuple[float, str]:
    """How uneven the gradients are, and the text of a cell."""
    torch.manual_seed(0)
    model, batch = network.build(), network.batch()
    if scheme is not None:
        ef.initialize_(model, batch, scheme=scheme)
    torch.manual_seed(0)
    loss, sizes, gradients = measure(model, batch)
    heads = outputs(plan)
    gradient = worst_gradient({name: size for name, size in gradients.items() if name not in heads})[0]
    aims = {row.layer: row.aim for row in plan.rows if row.aim and row.role == "hidden"}
    chance = f", loss {loss / math.log(network.classes):.2f}" if network.classes else ""
    return gradient, f"signal {_factor(worst_size(sizes, aims))}, gradient {_factor(gradient)}{chance}"


def _factor(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0e}"


def main() -> None:
    begin, lines = time.time(), []
    for name, network in track(NETWORKS.items(), "measuring"):
        torch.manual_seed(0)
        plan = ef.plan(network.build(), network.batch())
        best, scheme = min((cell(network, scheme, plan), scheme) for scheme in FIXED)
        auto, default = (cell(network, scheme, plan)[1] for scheme in ("auto", None))
        lines.append(f"| {name} | {auto} | {default} | {scheme}: {best[1]} |")
    head = HEAD.format(version=torch.__version__, seconds=time.time() - begin, fixed=", ".join(FIXED))
    (ROOT / "docs" / "zoo.md").write_text("\n".join([head, *lines]) + "\n")


if __name__ == "__main__":
    main()
