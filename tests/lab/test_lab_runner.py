import pytest

from evenflow.errors import ChangedClaimError, ClaimError
from evenflow.lab.store import Store


def contents(rows):
    return [row.content for row in rows]


def test_a_claim_of_a_user_is_measured_and_judged(lab, claim_file):
    heard = lab.run(claim_file())
    assert heard.plans == {"U1": (12, 12)}
    assert heard.verdicts["U1"].word == "supported"
    assert [row.status for row in lab.rows()] == ["done"] * 12
    (kept,) = lab.verdicts()
    assert (kept.claim.statement, kept.trials, kept.failed) == ("Draws have a mean of zero.", 12, 0)
    assert kept.claim.ranges == {"mean": "-1 to 1"}
    assert kept.figure.panels[0].series[0].x == (100, 200)


def test_what_was_measured_is_not_measured_again(lab, claim_file, inline):
    path = claim_file()
    lab.run(path)
    before = contents(lab.rows())
    heard = lab.run(path, engine=inline)
    assert (heard.plans, inline.jobs) == ({"U1": (12, 0)}, [])
    assert contents(lab.rows()) == before


def test_a_run_that_stops_resumes_with_the_same_rows(lab, claim_file, inline, tmp_path):
    path = claim_file()

    class Stops:
        name, workers = "stops", 1

        def run(self, jobs, workers=None):
            for number, done in enumerate(inline.run(jobs)):
                if number == 5:
                    raise KeyboardInterrupt
                yield done

    with pytest.raises(KeyboardInterrupt):
        lab.run(path, engine=Stops())
    assert len(lab.rows()) == 5
    with Store(lab.path) as store:
        assert store.runs()[-1].how == "interrupted"
    heard = lab.run(path)
    assert heard.plans == {"U1": (12, 7)}
    resumed = contents(lab.rows())
    lab.path = tmp_path / "undisturbed.db"
    lab.run(path)
    assert resumed == contents(lab.rows())


def test_another_base_seed_shares_no_trial(lab, claim_file):
    path = claim_file()
    lab.run(path, seed=0)
    heard = lab.run(path, seed=1)
    assert heard.plans == {"U1": (12, 12)}
    assert len({row.config for row in lab.rows()}) == 24
    assert [v.base_seed for v in lab.verdicts()] == [0, 1]


def test_the_random_state_of_a_trial_is_its_seed_and_nothing_else(lab, claim_file, tmp_path, inline):
    path = claim_file()
    lab.run(path)
    forward = contents(lab.rows())

    class Backward:
        name, workers = "backward", 1

        def run(self, jobs, workers=None):
            return inline.run(jobs[::-1])

    lab.path = tmp_path / "backward.db"
    lab.run(path, engine=Backward())
    assert contents(lab.rows()) == forward


def test_a_trial_that_raises_is_kept_with_its_traceback_and_the_rest_goes_on(lab, claim_file):
    path = claim_file(("    drawn = ", "    assert trial.seed != 3, 'three'\n    drawn = "))
    heard = lab.run(path)
    failed = [row for row in lab.rows() if row.status == "failed"]
    assert len(failed) == 2
    assert "AssertionError: three" in failed[0].error
    assert "own_claim.py" in failed[0].error
    assert heard.verdicts["U1"].checks[0].n == 10
    assert lab.verdicts()[0].failed == 2


def test_failed_trials_are_measured_again_when_asked(lab, claim_file, tmp_path):
    path = claim_file(("    drawn = ", f"    assert os.path.exists({str(tmp_path / 'there')!r})\n    drawn = "))
    assert lab.run(path).verdicts["U1"].word == "inconclusive"
    (tmp_path / "there").touch()
    assert lab.run(path).plans == {"U1": (12, 0)}
    assert lab.run(path, retry_failed=True).plans == {"U1": (12, 12)}
    assert [row.status for row in lab.rows()] == ["done"] * 12


def test_a_change_of_measuring_code_measures_again(lab, claim_file):
    lab.run(claim_file())
    heard = lab.run(claim_file(("drawn[:5]", "drawn[:4]")))
    assert heard.again == {"U1": 12}
    assert heard.plans == {"U1": (12, 12)}
    assert len(lab.rows()) == 24


def test_a_change_of_measuring_code_is_refused_when_asked(lab, claim_file):
    lab.run(claim_file())
    with pytest.raises(ChangedClaimError, match="other code"):
        lab.run(claim_file(("drawn[:5]", "drawn[:4]")), changed="refuse")
    assert len(lab.rows()) == 12


def test_comments_texts_and_figures_are_no_change(lab, claim_file):
    lab.run(claim_file())
    changed = claim_file(("Even seeds", "Odd seeds"), ("    return judge", "    # why\n    return judge"))
    assert lab.run(changed, changed="refuse").plans == {"U1": (12, 0)}


def test_a_change_of_evenflow_measures_again(lab, claim_file, monkeypatch):
    path = claim_file()
    lab.run(path)
    monkeypatch.setattr("evenflow.lab.runner.code_version", lambda: "other")
    assert lab.run(path).plans == {"U1": (12, 12)}


@pytest.mark.parametrize("change", [("mean=(-1, 1)", "mean=(-2, 2)"), ("near 0", "far off"), ("of zero", "of one")])
def test_a_prediction_changed_after_the_run_is_refused(lab, claim_file, change):
    lab.run(claim_file())
    with pytest.raises(ChangedClaimError, match="prediction of U1"):
        lab.run(claim_file(change))
    assert lab.run(claim_file(change), changed="rerun").plans == {"U1": (12, 0)}


def test_a_verdict_must_check_what_was_predicted(lab, claim_file):
    path = claim_file(("mean=(-1, 1)", "mean=(-1, 1), spread=(0, 1)"))
    with pytest.raises(ClaimError, match="must be checked"):
        lab.run(path)


def test_trials_that_run_together_are_measured_whole_when_one_is_missing(lab, claim_file, inline):
    path = claim_file(
        (
            "def measure(trial):",
            'TOGETHER = ("seed",)\n\n\n'
            "def measure_together(trials):\n    return [one(t) for t in trials]\n\n\ndef one(trial):",
        ),
    )
    lab.run(path)
    whole = contents(lab.rows())
    with Store(lab.path) as store:
        for table in ("metrics", "curves"):
            store.connection.execute(f"DELETE FROM {table} WHERE trial = (SELECT min(id) FROM trials)")
        store.connection.execute("DELETE FROM trials WHERE id = (SELECT min(id) FROM trials)")
    heard = lab.run(path, engine=inline)
    assert [len(job.trials) for job in inline.jobs] == [6]
    assert heard.plans["U1"] == (12, 6)
    assert contents(lab.rows()) == whole
