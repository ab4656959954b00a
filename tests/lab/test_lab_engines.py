import os
import signal

import pytest

from evenflow.errors import ParameterTypeError, ParameterValueError
from evenflow.lab.engines import LocalEngine


def contents(rows):
    return [row.content for row in rows]


def test_processes_give_the_rows_of_one_process(lab, claim_file, tmp_path):
    path = claim_file()
    lab.run(path)
    alone = contents(lab.rows())
    lab.path = tmp_path / "two.db"
    lab.run(path, engine=LocalEngine(2))
    assert contents(lab.rows()) == alone


def test_a_worker_that_dies_is_replaced_and_its_trial_tried_again(lab, claim_file, tmp_path):
    marker = tmp_path / "died"
    death = f"""    if trial.seed == 2 and not os.path.exists({str(marker)!r}):
        open({str(marker)!r}, "w").close()
        os.kill(os.getpid(), {signal.SIGKILL})
    drawn = """
    lab.run(claim_file(("    drawn = ", death)), engine=LocalEngine(2))
    assert marker.exists()
    assert [row.status for row in lab.rows()] == ["done"] * 12


def test_a_trial_that_kills_every_worker_is_recorded_as_failed(lab, claim_file):
    death = "    if trial.seed == 2 and trial['size'] == 100: os._exit(7)\n    drawn = "
    lab.run(claim_file(("    drawn = ", death)), engine=LocalEngine(2))
    (failed,) = [row for row in lab.rows() if row.status == "failed"]
    assert "exit code 7, as it did in 3 attempts" in failed.error


def test_workers_end_with_the_run(lab, claim_file):
    engine = LocalEngine(2)
    started = []
    start = engine._start

    def remember():
        started.append(start())
        return started[-1]

    engine._start = remember
    lab.run(claim_file(), engine=engine)
    assert len(started) == 2
    assert not any(worker.process.is_alive() for worker in started)


def test_workers_end_when_the_driver_is_interrupted(lab, claim_file):
    engine = LocalEngine(2)
    started = []
    start = engine._start

    def remember():
        started.append(start())
        return started[-1]

    engine._start = remember
    path = claim_file(("    drawn = ", "    import time; time.sleep(60 if trial.seed else 0)\n    drawn = "))
    from evenflow.lab.budget import Budget
    from evenflow.lab.catalogue import find
    from evenflow.lab.execute import Job

    (source,) = find([path])
    claim = source.load()
    jobs = [Job(source, (trial,), claim.code) for trial in claim.design(Budget())]
    running = engine.run(jobs)
    next(running)
    running.close()
    assert not any(worker.process.is_alive() for worker in started)


@pytest.mark.parametrize(("workers", "error"), [(0, ParameterValueError), (1.5, ParameterTypeError)])
def test_bad_numbers_of_workers_are_refused(workers, error):
    with pytest.raises(error, match="workers"):
        LocalEngine(workers)


def test_the_default_is_a_worker_a_core():
    assert LocalEngine().workers == len(os.sched_getaffinity(0))
