"""Kernels after a fork, in a new process, and in a worker of a data loader."""

import subprocess
import sys

import pytest

SCRIPT = """
import multiprocessing
from hashlib import sha256

import torch.utils.data
from evenflow.random import Stream

COUNT = 2**20 + 5

def digest(threads):
    return sha256(Stream(3, "fork").normal(COUNT, threads=threads)).hexdigest()

class Digests(torch.utils.data.Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return digest(2)

def in_a_process(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        return {pool.apply(digest, (2,)) for _ in range(2)}

def in_a_loader(method):
    loader = torch.utils.data.DataLoader(
        Digests(), batch_size=None, num_workers=1, multiprocessing_context=method
    )
    return set(loader)

if __name__ == "__main__":
    here = digest(2)
    assert here == digest(1)
    assert PLACE(METHOD) == {here}
    assert digest(2) == here
"""


@pytest.mark.parametrize(
    ("place", "method"), [("in_a_process", "fork"), ("in_a_process", "spawn"), ("in_a_loader", "fork")]
)
def test_a_child_of_a_process_that_used_the_pool_draws_the_same_bits(tmp_path, place, method):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.replace("PLACE", place).replace("METHOD", repr(method)))
    # A deadlock ends here instead of never.
    subprocess.run([sys.executable, script], check=True, timeout=120)
