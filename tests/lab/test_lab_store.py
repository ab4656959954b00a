import math
import sqlite3
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evenflow.errors import StoreError
from evenflow.lab.catalogue import find
from evenflow.lab.store import Store, opening
from evenflow.lab.trial import Outcome, Trial


@pytest.fixture(scope="module")
def claim():
    return find(["T24"])[0].load()


def outcome(seed, **metrics):
    return Outcome(Trial({"seed": seed}), "done", metrics or {"m": 1.0}, {"c": [1.0, math.nan, math.inf]}, seconds=0.5)


NUMBERS = st.dictionaries(st.text(max_size=4), st.floats(), max_size=4)
CURVES = st.dictionaries(st.text(max_size=4), st.lists(st.floats(), max_size=5), max_size=2)


@given(metrics=NUMBERS, curves=CURVES)
def test_what_is_written_is_read(tmp_path_factory, claim, metrics, curves):
    path = tmp_path_factory.mktemp("store") / "lab.db"
    with Store(path) as store:
        store.write(claim, "code", Outcome(Trial({"seed": 1}), "done", metrics, curves))
        (row,) = store.rows()
    same = {name: repr(value) for name, value in row.metrics.items()}
    # SQLite keeps a metric of minus zero as zero; curves keep every bit.
    assert same == {name: repr(value + 0.0) for name, value in metrics.items()}
    assert {k: list(map(repr, v)) for k, v in row.curves.items()} == {k: list(map(repr, v)) for k, v in curves.items()}


def test_a_trial_is_kept_once(tmp_path, claim):
    with Store(tmp_path / "lab.db") as store:
        store.write(claim, "code", outcome(1, m=1.0))
        store.write(claim, "code", outcome(1, m=2.0))
        (row,) = store.rows()
        assert row.metrics == {"m": 1.0}
        assert store.known(claim, "code") == {Trial({"seed": 1})}
        assert store.known(claim, "other") == set()


def test_a_reader_works_while_a_writer_is_in_the_middle(tmp_path, claim):
    with Store(tmp_path / "lab.db") as writer, Store(tmp_path / "lab.db", create=False) as reader:
        writer.write(claim, "code", outcome(1))
        writer.connection.execute("BEGIN IMMEDIATE")
        writer.connection.execute("DELETE FROM curves")
        assert len(reader.rows()) == 1
        assert reader.rows()[0].curves
        writer.connection.execute("ROLLBACK")


def test_a_transaction_that_fails_leaves_nothing_behind(tmp_path, claim):
    with Store(tmp_path / "lab.db") as store:
        with pytest.raises(ValueError, match="could not convert"):
            store.write(claim, "code", Outcome(Trial({"seed": 1}), "done", {"m": 1.0}, {"c": ["x"]}))
        assert store.rows() == []
        store.write(claim, "code", outcome(2))
        assert len(store.rows()) == 1


def test_a_store_locked_by_another_program_says_so(tmp_path, claim, monkeypatch):
    monkeypatch.setattr(opening, "PATIENCE", 0.1)
    with Store(tmp_path / "lab.db") as store:
        other = sqlite3.connect(store.path)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked by another program"):
            store.write(claim, "code", outcome(1))
        other.execute("ROLLBACK")
        other.close()
        store.write(claim, "code", outcome(1))
        assert len(store.rows()) == 1


def test_a_full_disk_says_so_and_keeps_what_was_written(tmp_path, claim):
    with Store(tmp_path / "lab.db") as store:
        store.write(claim, "code", outcome(1))
        (pages,) = store.connection.execute("PRAGMA page_count").fetchone()
        store.connection.execute(f"PRAGMA max_page_count = {pages}")
        big = Outcome(Trial({"seed": 2}), "done", {"m": 1.0}, {"c": [0.0] * 10_000})
        with pytest.raises(StoreError, match=r"disk .* is full"):
            store.write(claim, "code", big)
        assert [row.config for row in store.rows()] == ['{"seed": 1}']
        store.connection.execute("PRAGMA max_page_count = 100000")
        store.write(claim, "code", big)
        assert len(store.rows()) == 2


def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("notes " * 1000)
    with pytest.raises(StoreError, match="no store, or a corrupt one"):
        Store(path)
    assert path.read_text() == "notes " * 1000


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="another program"):
        Store(path)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]


def test_a_store_of_another_version_is_refused(tmp_path):
    with Store(tmp_path / "lab.db") as store:
        store.connection.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="version 99"):
        Store(tmp_path / "lab.db")


def test_a_store_that_was_damaged_says_so(tmp_path, claim):
    path = tmp_path / "lab.db"
    with Store(path) as store:
        for seed in range(20):
            store.write(claim, "code", outcome(seed))
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="corrupt"), Store(path) as store:
        store.rows()


def test_a_store_that_is_not_there_is_told(tmp_path):
    with pytest.raises(StoreError, match="there is no store"):
        Store(tmp_path / "lab.db", create=False)
    assert not (tmp_path / "lab.db").exists()
    with pytest.raises(StoreError, match="there is no folder"):
        Store(tmp_path / "nowhere" / "lab.db")


def test_two_processes_may_make_the_same_store_at_once(tmp_path):
    stores, errors = [], []

    def make():
        try:
            with Store(tmp_path / "lab.db") as store:
                stores.append(store.rows())
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (stores, errors) == ([[]] * 8, [])


def test_the_journal_is_a_write_ahead_log(tmp_path):
    with Store(tmp_path / "lab.db") as store:
        assert store.connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
