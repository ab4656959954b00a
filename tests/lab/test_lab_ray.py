"""The engine on a Ray cluster of two nodes, in a process of its own."""

import subprocess
import sys

import pytest

from evenflow.errors import MissingExtraError, ParameterTypeError, ParameterValueError
from evenflow.lab.engines.ray import RayEngine

DRIVER = """
import sys
from pathlib import Path

from ray.cluster_utils import Cluster

from evenflow.lab.budget import Budget
from evenflow.lab.catalogue import find
from evenflow.lab.engines.ray import RayEngine
from evenflow.lab.runner import run
from evenflow.lab.store import Store


class Quiet:
    planned = measured = concluded = remeasured = lambda self, *told: None


cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
with RayEngine(cluster.address) as engine, Store(Path(sys.argv[1])) as store:
    assert engine.workers == 2
    run(find(sys.argv[2:]), store, engine, Budget(), Quiet())
cluster.shutdown()
"""


def test_a_cluster_of_two_nodes_gives_the_rows_of_one_process(lab, claim_file, tmp_path):
    # A trial that raises, and a worker that dies once, are part of what must come out the same.
    marker = tmp_path / "died"
    disturbance = f"""    assert trial.seed != 3, "three"
    if trial.seed == 2 and not os.path.exists({str(marker)!r}):
        open({str(marker)!r}, "w").close()
        os._exit(1)
    drawn = """
    path = claim_file(("    drawn = ", disturbance))
    cluster = tmp_path / "cluster.db"
    subprocess.run([sys.executable, "-c", DRIVER, str(cluster), path], check=True, capture_output=True)
    assert marker.exists()
    lab.run(path)
    rows = lab.rows()
    assert [row.content for row in lab.rows(cluster)] == [row.content for row in rows]
    assert {row.status for row in rows} == {"done", "failed"}


def test_without_ray_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'evenflow\[ray\]'"):
        RayEngine()


@pytest.mark.parametrize(("workers", "error"), [(0, ParameterValueError), (1.5, ParameterTypeError)])
def test_bad_numbers_of_workers_are_refused(monkeypatch, workers, error):
    monkeypatch.setitem(sys.modules, "ray", object())
    with pytest.raises(error, match="workers"):
        RayEngine(workers=workers)
