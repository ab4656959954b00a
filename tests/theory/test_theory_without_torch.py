import subprocess
import sys

USE = """
import sys
import numpy as np
from evenflow.theory import activation_names, fans, gain

assert fans(np.empty((2, 3))) == (3, 2)
for name in activation_names():
    gain(name)
gain(np.tanh)
try:
    gain(lambda x: x.clamp(min=0))
except ValueError as error:
    assert "NumPy array" in str(error) and "torch" not in str(error)
{more}
heavy = {{"torch", "scipy"}} & {{name.split(".")[0] for name in sys.modules}}
sys.exit(f"loaded {{heavy}}" if heavy else 0)
"""


def run(more=""):
    return subprocess.run([sys.executable, "-c", USE.format(more=more)], capture_output=True, text=True, check=False)


def test_theory_is_used_without_torch_or_scipy():
    done = run()
    assert done.returncode == 0, done.stderr


def test_an_import_of_torch_would_be_seen():
    assert "loaded {'torch'}" in run("import torch").stderr
