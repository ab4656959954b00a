"""The functions inside a compiled function draw what they draw outside."""

import subprocess
import sys

SCRIPT = """
import torch, evenflow as ef
from evenflow.random import Stream

def make():
    weight = torch.empty(8, 4)
    return [
        ef.init.{name}(weight.clone(), stream=Stream(0, "a")) for _ in range(2)
    ]

apart = make()
compiled = torch.compile(make, backend="eager")()
assert all(torch.equal(a, b) for a, b in zip(apart, compiled)), (apart, compiled)
torch.manual_seed(0); first = ef.init.normal_(torch.empty(9))
torch.manual_seed(0); again = torch.compile(lambda: ef.init.normal_(torch.empty(9)), backend="eager")()
assert torch.equal(first, again)
"""


def test_compiled_functions_draw_the_same():
    for name in ("normal_", "orthogonal_", "truncated_normal_"):
        subprocess.run([sys.executable, "-c", SCRIPT.format(name=name)], check=True)
