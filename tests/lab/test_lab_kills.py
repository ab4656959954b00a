"""A driver or a worker that is killed loses nothing: the rows are those of an undisturbed run.

The trials themselves strike, at a place in the run that the test names, so that nothing depends on time.
"""

import json
import signal
import subprocess
import sys

import pytest

from evenflow.lab.store import Store

STRIKE = """
import json
import os
import signal
import time
from pathlib import Path


def strike(trial):
    order = Path({order!r})
    if not order.exists() or json.loads(order.read_text())["at"] != [trial["size"], trial.seed]:
        return
    told = json.loads(order.read_text())
    order.unlink()
    os.kill(os.getpid() if told["whom"] == "worker" else int(Path({driver!r}).read_text()), told["signal"])
    if told["signal"] == signal.SIGINT:
        time.sleep(60)  # the driver has to end this worker, and does not wait for it
"""
# A shell that starts the tests in the background lets them ignore SIGINT, which a driver would inherit.
DRIVER = """
import os
import signal
from pathlib import Path

from evenflow.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
Path({driver!r}).write_text(str(os.getpid()))
main()
"""
GROUP = (
    "def measure(trial):",
    'TOGETHER = ("seed",)\n\n\ndef measure_together(trials):\n    return [one(t) for t in trials]\n\n\ndef one(trial):',
)


@pytest.fixture
def disturbed(tmp_path, claim_file):
    """Runs two claims in a process of their own, and strikes whom and when the test says."""
    order, driver = tmp_path / "order", tmp_path / "driver"
    strike = STRIKE.format(order=str(order), driver=str(driver))
    change = ("    drawn = ", "    strike(trial)\n    drawn = ")
    claims = (
        claim_file(change, name="alone.py", more=strike),
        claim_file(change, GROUP, ('ID = "U1"', 'ID = "U2"'), name="group.py", more=strike),
    )

    def run(path, **told):
        if told:
            order.write_text(json.dumps(told))
        code = DRIVER.format(driver=str(driver))
        arguments = ["lab", "run", *claims, "--store", str(path), "--workers", "2"]
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    run.claims = claims
    return run


def contents(path):
    with Store(path, create=False) as store:
        return [row.content for row in store.rows()]


def test_what_is_killed_ends_with_the_rows_of_an_undisturbed_run(tmp_path, lab, disturbed):
    lab.run(*disturbed.claims)
    path = tmp_path / "killed.db"
    assert disturbed(path, at=[100, 4], whom="driver", signal=signal.SIGKILL).returncode == -signal.SIGKILL
    assert 0 < len(contents(path)) < 24
    # In the middle of a group, and with a worker that dies.
    assert disturbed(path, at=[200, 3], whom="worker", signal=signal.SIGKILL).returncode == 0
    assert contents(path) == contents(lab.path)


def test_ctrl_c_stops_cleanly_and_says_so(tmp_path, disturbed):
    path = tmp_path / "lab.db"
    stopped = disturbed(path, at=[100, 4], whom="driver", signal=signal.SIGINT)
    assert stopped.returncode == 130
    assert "what was measured is kept" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert len(contents(path)) < 24
    with Store(path) as store:
        assert store.runs()[-1].how == "interrupted"
